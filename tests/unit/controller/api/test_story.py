"""The story of a stream: what, when, why, and what it waits for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.api import story
from controller.api.seen import Seen
from controller.domain.model import Cause as Because
from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    PlacementState,
    Reason,
    Run,
    State,
    Transition,
)
from controller.domain.observation import Figures, Freshness, Observed, ProxyView, SessionState
from controller.domain.plan import Drift, DriftClass, DriftKind, Verb
from controller.store.cursors import Page
from controller.store.drift import KnownDrift
from controller.store.history import Entry
from tests.fakes.api_world import World
from tests.fakes.domain_values import ID, KEY, NOW, later, placement, run, session, view

EMPTY: Page[Entry] = Page((), None)


def tell(told: Run, *views: ProxyView, past: Page[Entry] = EMPTY, drifts: Any = ()) -> Any:
    return story.tell(told, past, drifts, Seen(Observed(views)), later(65))


def entry(number: int, seconds: float, source: State | None, target: State, **fields: Any) -> Entry:
    defaults: dict[str, Any] = {"reason": None, "detail": "", "cause": Because("reconciler", "plan"), "event": "placed"}
    return Entry(
        number,
        Transition(
            stream_id=ID, key=KEY, epoch=1, at=later(seconds), from_state=source, to_state=target, **defaults | fields
        ),
    )


SUMMARIES = {
    "pending": (
        run(State.PENDING),
        [view()],
        "Stream cam-7 (epoch 1) is PENDING for 1 min 5 s: it is known, and nothing has been placed yet.",
        "a proxy",
    ),
    "pending with a reason": (
        run(
            State.PENDING,
            conditions=(
                Condition(ConditionType.PLACED, ConditionStatus.FALSE, "NoProxy", "no proxy is reachable", NOW, 1),
            ),
        ),
        [],
        "nothing has been placed yet",
        "a proxy that takes it (no proxy is reachable)",
    ),
    "waiting for the next try": (
        run(State.STARTING, failures=3, retry_at=later(95)),
        [view()],
        "no proxy was seen to run it yet",
        "the next try in 30 s, after 3 failed in a row",
    ),
    "starting": (
        run(State.STARTING, placement(PlacementState.REQUESTED)),
        [view()],
        "no proxy was seen to run it yet",
        "proxy p1 to run it",
    ),
    "flowing": (
        run(State.LIVE, placement()),
        [view(session(), figures=(Figures(viewers_ts=1),))],
        "it flows, and 1 viewer watches",
        None,
    ),
    "idle": (run(State.LIVE, placement()), [view(session(SessionState.IDLE))], "ready and idle", None),
    "stalled, upstream": (
        run(State.STALLED, placement()),
        [view(session(SessionState.STALLED))],
        "That is not its end",
        "its upstream to deliver again",
    ),
    "stalled, source": (
        run(
            State.STALLED,
            placement(),
            conditions=(
                Condition(ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "LastWill", "its source is gone", NOW, 1),
            ),
        ),
        [view(session())],
        "it should flow and does not",
        "its source to come back",
    ),
    "ended": (
        run(State.ENDED, placement(PlacementState.STOPPING), reason=Reason.OPERATOR_STOPPED, reason_detail="enough"),
        [view(session())],
        "its end is decided (operator_stopped: enough), and not everything of it was seen to stop",
        "proxy p1 to be seen without it",
    ),
    "closed": (run(State.CLOSED), [view()], "it has ended (source_ended), and nothing of it runs", None),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_state_is_told_with_what_it_waits_for(name: str) -> None:
    told, views, summary, waits_for = SUMMARIES[name]
    found = tell(told, *views)
    assert summary in found["summary"]
    assert found["waits_for"] == waits_for
    assert found["text"].startswith(found["summary"])


def test_what_happened_is_told_in_order_with_who_and_why() -> None:
    past = Page(
        (
            entry(4, 30, State.ENDED, State.CLOSED, event="all_gone"),
            entry(3, 20, State.STARTING, State.ENDED, event="stop", reason=Reason.OPERATOR_STOPPED,
                  detail="maintenance", cause=Because("operator:api", "DELETE /streams/cam-7")),
            entry(2, 10, State.PENDING, State.STARTING, detail="no placement"),
            entry(1, 10, None, State.PENDING, event="announced", cause=Because("source:enc-1", "a/topic")),
        ),
        None,
    )  # fmt: skip
    found = tell(run(State.CLOSED), past=past)
    assert [sentence["text"] for sentence in found["sentences"]] == [
        "Source enc-1 announced it (a/topic).",
        "PENDING became STARTING (placed): no placement.",
        (
            "STARTING became ENDED with the reason operator_stopped: maintenance. "
            "An operator (api) decided it (DELETE /streams/cam-7)."
        ),
        "ENDED became CLOSED: every placement was seen to be gone.",
    ]
    assert found["sentences"][0]["at"] == later(10)


def test_drifts_are_told_with_what_holds_them_and_when_they_were_gone() -> None:
    found = Drift(DriftKind.ORPHAN_UNKNOWN, "cam-7", "s", "p1", 1, "the database knows neither")
    held = KnownDrift(1, found, DriftClass.UNEVIDENCED, Verb.HOLD, "60 s and 2 looks", NOW, NOW, 1, None)
    done = KnownDrift(2, found, DriftClass.EVIDENCED, Verb.STOP, "", later(1), later(2), 2, later(8))
    told = [sentence["text"] for sentence in tell(run(State.CLOSED), drifts=(held, done))["sentences"]]
    assert told == [
        (
            "Drift orphan_unknown on proxy p1: the database knows neither. "
            "Nothing is done about it until 60 s and 2 looks."
        ),
        "Drift orphan_unknown on proxy p1: the database knows neither. The control loop answered it with stop.",
        "Drift orphan_unknown on proxy p1 was gone after 7 s.",
    ]


def test_what_is_seen_and_not_asked_for_is_told() -> None:
    stale = replace(view(session(SessionState.FINISHED, finished_reason="failed")), freshness=Freshness.STALE)
    other = view(session(generation=7), proxy_id="p2")
    told = tell(run(State.LIVE, placement(), placement(PlacementState.STOPPING, generation=0)), stale, other)["text"]
    assert "Generation 1 on proxy p1 is wanted; it has finished by itself (failed)." in told
    assert "Proxy p1 does not answer, so that this is what was seen last." in told
    assert "Generation 0 on proxy p1 has been stopping for 1 min 5 s; the proxy was not seen to run it." in told
    assert "Proxy p2 runs generation 7 (flowing), which nobody asks for." in told


def test_only_conditions_that_are_not_as_they_should_be_are_told() -> None:
    conditions = (
        Condition(ConditionType.EPOCH_REGRESSED, ConditionStatus.TRUE, "NewBoot", "epoch 1; 5 is known", NOW, 1),
        Condition(ConditionType.FLOWING, ConditionStatus.FALSE, "Stalled", "silent", NOW, 1),
        Condition(ConditionType.PLACED, ConditionStatus.TRUE, "Observed", "on proxy p1", NOW, 1),
    )
    told = tell(run(State.LIVE, conditions=conditions))["text"]
    assert "EpochRegressed is True for 1 min 5 s (NewBoot): epoch 1; 5 is known." in told
    assert "Flowing is False for 1 min 5 s (Stalled): silent." in told
    assert "Placed" not in told


@pytest.mark.parametrize(
    ("lasted", "told"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3660, "1 h 1 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_time_is_told_in_two_units(lasted: float, told: str) -> None:
    assert story._span(timedelta(seconds=lasted)) == told


async def test_a_long_history_says_that_it_is_cut(world: World) -> None:
    await world.play()
    found = (await world.client.get("/streams/cam-7/why")).json()
    assert "it flows" in found["summary"]
    assert "POST" not in found["text"]
    cut = tell(run(State.LIVE), past=Page((entry(9, 1, State.LIVE, State.STALLED),), "9"))
    assert cut["sentences"][0]["text"] == "What happened earlier is in its transitions."
