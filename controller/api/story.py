"""Why a stream is as it is: its rows, told in plain sentences. Pure: the same rows tell the same story.

What happened comes from transitions and drifts, in the order of time; how it stands comes from the state, the
conditions and the newest observation; what it waits for follows from both.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.api import schemas
from controller.api.seen import Seen
from controller.domain import mass_end
from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Placement,
    PlacementState,
    Run,
    State,
    Stream,
    Transition,
)
from controller.domain.observation import SessionState
from controller.domain.plan import Verb
from controller.store.cursors import Page
from controller.store.drift import KnownDrift
from controller.store.history import Entry


@dataclass(frozen=True, slots=True)
class Sentence:
    at: datetime
    text: str


def tell(run: Run, past: Page[Entry], drifts: Sequence[KnownDrift], seen: Seen, now: datetime) -> schemas.StoryDocument:
    """Tell the story of one run.

    Args:
        run: as the database has it now.
        past: its newest transitions, newest first.
        drifts: its drifts, open and repaired.
        seen: what the proxies were seen to run.
        now: for how long something has lasted.
    """
    stream = run.stream
    happened = [*_transitions(past), *(sentence for known in drifts for sentence in _drift(known))]
    happened.sort(key=lambda sentence: sentence.at)
    present = [*_conditions(stream, now), *_placements(run, seen, now)]
    summary, waits_for = _summary(run, seen, now), _waits_for(run, now)
    sentences = [_document(sentence.at, sentence.text) for sentence in happened]
    sentences += [_document(None, text) for text in present]
    if past.next_cursor is not None:
        sentences.insert(0, _document(None, "What happened earlier is in its transitions."))
    lines = [summary, *(_line(sentence) for sentence in sentences)]
    if waits_for is not None:
        lines.append(f"It waits for {waits_for}.")
    return {
        "id": stream.id,
        "key": stream.key,
        "state": stream.state,
        "summary": summary,
        "sentences": sentences,
        "waits_for": waits_for,
        "text": "\n".join(lines),
    }


# What happened


def _transitions(past: Page[Entry]) -> Iterator[Sentence]:
    for entry in reversed(past.items):
        yield Sentence(entry.transition.at, _transition(entry.transition))


def _transition(moved: Transition) -> str:
    who = _actor(moved.cause.actor)
    if moved.from_state is None:
        return f"{who} announced it ({moved.cause.detail})."
    if moved.event == mass_end.HELD:
        return f"{who} says that it has ended ({moved.detail}), as of nearly all of its streams at once. That is held."
    if moved.event == mass_end.CANCELLED:
        return f"{who} announced it again ({moved.cause.detail}): the held end is void."
    change = f"{moved.from_state} became {moved.to_state}"
    if moved.to_state is State.CLOSED:
        return f"{change}: every placement was seen to be gone."
    if moved.to_state is State.ENDED:
        detail = f": {moved.detail}" if moved.detail else ""
        reason = f" with the reason {moved.reason}" if moved.reason is not None else ""
        return f"{change}{reason}{detail}. {who} decided it ({moved.cause.detail})."
    detail = moved.detail or moved.cause.detail
    return f"{change} ({moved.event}): {detail}." if detail else f"{change} ({moved.event})."


def _drift(known: KnownDrift) -> Iterator[Sentence]:
    found = known.drift
    begun = f"Drift {found.kind} on proxy {found.proxy_id}: {found.evidence}."
    if known.action is Verb.HOLD:
        yield Sentence(known.first_seen, f"{begun} Nothing is done about it until {known.gate or 'its gate opens'}.")
    else:
        yield Sentence(known.first_seen, f"{begun} The control loop answered it with {known.action}.")
    if known.repaired_at is not None:
        lasted = _span(known.repaired_at - known.first_seen)
        yield Sentence(known.repaired_at, f"Drift {found.kind} on proxy {found.proxy_id} was gone after {lasted}.")


def _actor(actor: str) -> str:
    kind, _, name = actor.partition(":")
    if kind == "source":
        return f"Source {name}"
    if kind == "operator":
        return f"An operator ({name})"
    return "The control loop" if kind == "reconciler" else actor


# How it stands


def _conditions(stream: Stream, now: datetime) -> Iterator[str]:
    """Only what is not as it should be is worth a sentence."""
    for condition in stream.conditions:
        wished = ConditionStatus.FALSE if condition.type.is_alarm else ConditionStatus.TRUE
        if condition.status is not wished and stream.state is not State.CLOSED:
            yield _condition(condition, now)


def _condition(condition: Condition, now: datetime) -> str:
    message = f": {condition.message}" if condition.message else ""
    since = _span(now - condition.since)
    return f"{condition.type} is {condition.status} for {since} ({condition.reason}){message}."


def _placements(run: Run, seen: Seen, now: datetime) -> Iterator[str]:
    found = {(one.view.proxy_id, one.session.generation): one for one in seen.of(run.stream.id)}
    for placement in run.placements:
        where = f"Generation {placement.generation} on proxy {placement.proxy_id}"
        sighting = found.pop((placement.proxy_id, placement.generation), None)
        if sighting is None:
            yield f"{where} {_wish(placement, now)}; the proxy was not seen to run it."
        elif (session := sighting.session).state is SessionState.FINISHED:
            yield f"{where} {_wish(placement, now)}; it has finished by itself ({session.finished_reason})."
        else:
            detail = f" ({session.detail})" if session.detail else ""
            crowd = _crowd(sighting.figures.viewers)
            yield f"{where} {_wish(placement, now)}; its upstream is {session.state}{detail}; {crowd}."
        view = seen.views.get(placement.proxy_id)
        if view is None or not view.is_fresh:
            yield f"Proxy {placement.proxy_id} does not answer, so that this is what was seen last."
    for (proxy_id, generation), sighting in found.items():
        yield f"Proxy {proxy_id} runs generation {generation} ({sighting.session.state}), which nobody asks for."


def _wish(placement: Placement, now: datetime) -> str:
    match placement.state:
        case PlacementState.REQUESTED:
            return f"was asked for {_span(now - placement.requested_at)} ago"
        case PlacementState.OBSERVED:
            return "is wanted"
        case PlacementState.STOPPING:
            return f"has been stopping for {_span(now - (placement.stopping_at or now))}"
        case PlacementState.GONE:
            return "is gone"


def _summary(run: Run, seen: Seen, now: datetime) -> str:
    stream = run.stream
    lasted = _span(now - stream.state_since)
    begun = f"Stream {stream.key} (epoch {stream.epoch}) is {stream.state} for {lasted}"
    match stream.state:
        case State.PENDING:
            return f"{begun}: it is known, and nothing has been placed yet."
        case State.STARTING:
            return f"{begun}: its start was asked for, and no proxy was seen to run it yet."
        case State.LIVE:
            return f"{begun}: {_how_it_lives(run, seen)}."
        case State.STALLED:
            return f"{begun}: it should flow and does not. That is not its end."
        case State.ENDED:
            return f"{begun}: its end is decided ({_why_it_ended(stream)}), and not everything of it was seen to stop."
        case State.CLOSED:
            return f"{begun}: it has ended ({_why_it_ended(stream)}), and nothing of it runs."


def _how_it_lives(run: Run, seen: Seen) -> str:
    sightings = seen.of(run.stream.id)
    sessions = [sighting.session for sighting in sightings]
    viewers = sum(sighting.figures.viewers for sighting in sightings)
    if any(session.state is SessionState.FLOWING for session in sessions):
        return f"it flows, and {_crowd(viewers)}"
    if any(session.state is SessionState.IDLE for session in sessions):
        return "it is ready and idle; its upstream is opened when somebody watches"
    return f"its session was seen, and {_crowd(viewers)}"


def _why_it_ended(stream: Stream) -> str:
    return f"{stream.reason}: {stream.reason_detail}" if stream.reason_detail else f"{stream.reason}"


# What comes next


def _waits_for(run: Run, now: datetime) -> str | None:
    stream = run.stream
    match stream.state:
        case State.PENDING | State.STARTING if stream.retry_at is not None and stream.retry_at > now:
            return f"the next try in {_span(stream.retry_at - now)}, after {stream.failures} failed in a row"
        case State.PENDING:
            placed = stream.condition(ConditionType.PLACED)
            return f"a proxy that takes it ({placed.message})" if placed is not None and placed.message else "a proxy"
        case State.STARTING:
            return f"proxy {_names(run.wanted)} to run it" if run.wanted else "a new placement"
        case State.LIVE | State.CLOSED:
            return None
        case State.STALLED:
            return "its source to come back" if stream.is_source_lost else "its upstream to deliver again"
        case State.ENDED:
            return f"proxy {_names(run.placements)} to be seen without it"


def _names(placements: Iterable[Placement]) -> str:
    return ", ".join(sorted({placement.proxy_id for placement in placements}))


# Words


def _document(at: datetime | None, text: str) -> schemas.SentenceDocument:
    return {"at": at, "text": text}


def _line(sentence: schemas.SentenceDocument) -> str:
    at = sentence["at"]
    return f"{at:%Y-%m-%d %H:%M:%S} {sentence['text']}" if at is not None else sentence["text"]


def _crowd(viewers: int) -> str:
    return {0: "nobody watches", 1: "1 viewer watches"}.get(viewers, f"{viewers} viewers watch")


def _span(lasted: timedelta) -> str:
    """Say how long, in the two largest units that matter."""
    seconds = max(0, int(lasted.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
