"""The reference page of a stream's states, made from the machine: the table, what each state means, the drawing."""

from collections.abc import Iterator

from controller.domain.machine import ENDING_EVENTS, TRANSITIONS, Event, StreamMachine
from controller.domain.model import Reason, State

MEANINGS = {
    State.PENDING: "Announced, and not yet placed on a proxy.",
    State.STARTING: "A proxy has been asked to run it, and was not yet seen to do so.",
    State.LIVE: "A proxy was seen to run its session. Without viewers an on-demand session is idle, and LIVE.",
    State.STALLED: "It should flow and does not: its source is gone, no bytes come, or its only proxy is unreachable. "
    "Not the end.",
    State.ENDED: "The end is decided and every proxy concerned is told. Listed until nothing of it runs.",
    State.CLOSED: "The end is confirmed: every placement was observed gone. Nothing leads out of it.",
}


def page() -> str:
    """Return the page as Markdown."""
    lines = [
        "# States of a stream",
        "",
        "<!-- Made by `make docs` from the code. Edits here are lost. -->",
        "",
        "A stream is one run of a key. It moves only as this table allows; everything else is refused.",
        "How the control loop uses it is told in [reconciliation](../explanation/reconciliation.md).",
        "",
        "| state | meaning |",
        "| --- | --- |",
        *(f"| {state} | {MEANINGS[state]} |" for state in State),
        "",
        "## Moves",
        "",
        "Where two states stand, the first is taken if its guard holds (see the drawing): the source is still lost,",
        "the session was observed, or the finish is final by the stream's policy. An empty cell is a refusal.",
        "",
        *_table(),
        "",
        "A run that ends with nothing placed is CLOSED in the same transaction.",
        "",
        "## Reasons of an end",
        "",
        "| reason | outcome | given by |",
        "| --- | --- | --- |",
        *(f"| `{reason}` | {reason.outcome} | {_events_of(reason)} |" for reason in Reason),
        "",
        "## Drawing",
        "",
        "```mermaid",
        f"{StreamMachine:mermaid}".strip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _table() -> Iterator[str]:
    yield f"| event | {' | '.join(State)} |"
    yield f"| --- |{' --- |' * len(State)}"
    for event in Event:
        cells = (" or ".join(TRANSITIONS.get((state, event), ())) for state in State)
        yield f"| `{event}` | {' | '.join(cells)} |"


def _events_of(reason: Reason) -> str:
    events = [f"`{event}`" for event, given in ENDING_EVENTS.items() if given is reason]
    return ", ".join(events) or "whoever sends the event"
