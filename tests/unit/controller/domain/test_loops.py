"""When a stream counts as looping, and what becomes of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.domain import loops
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import ConditionStatus, ConditionType, Reason, Run, State
from controller.domain.observation import Desired, Observed, SessionState
from controller.domain.plan import Plan, Policy, plan
from tests.fakes import domain_values as make

HOUR = timedelta(hours=1)
LOOPING = make.session(looping_seconds=1.0, loop_period_seconds=8.2)
FRESH = make.session()


def draft(run: Run | None = None, at: float = 0) -> Draft:
    return Draft(run or make.run(State.LIVE, make.placement()), make.CAUSE, make.later(at))


def said(one: Draft) -> tuple[str, str, str] | None:
    found = one.run.stream.condition(ConditionType.LOOPING)
    return None if found is None else (found.status.value, found.reason, found.message)


def ago(seconds: float) -> float:
    return make.NOW.timestamp() - seconds


SEEN = ("True", "SamePictures", "the same pictures come again every 8 s")
HEARD = ("True", "LiveLastOld", "its source's newest media is of 2026-03-01T10:00:00+00:00")


def test_what_a_proxy_sees_is_said_and_taken_back():
    one = draft()
    loops.look(one, FRESH)
    assert said(one) is None
    loops.look(one, LOOPING)
    assert said(one) == SEEN
    loops.look(one, FRESH)
    assert said(one) == ("False", "FreshPictures", "")
    loops.look(one, LOOPING)
    loops.look(one, replace(FRESH, state=SessionState.IDLE))
    assert said(one) == ("Unknown", "Idle", "nobody watches")


def test_what_a_source_says_of_its_newest_media_is_said_and_taken_back():
    one = draft()
    loops.hear(one, ago(3600), make.NOW, HOUR)
    assert said(one) is None
    loops.hear(one, ago(7200), make.NOW, HOUR)
    assert said(one) == HEARD
    loops.hear(one, ago(2), make.NOW, HOUR)
    assert said(one) == ("False", "LiveLastRecent", "")


@pytest.mark.parametrize("value", [0.0, -1.0, 7200.0, ago(0) * 1000, ago(-90_000)])
def test_what_is_no_time_is_not_heard(value: float):
    one = draft()
    loops.hear(one, value, make.NOW, HOUR)
    assert said(one) is None


def test_each_witness_takes_back_only_its_own_word():
    one = draft()
    loops.hear(one, ago(7200), make.NOW, HOUR)
    loops.look(one, LOOPING)
    loops.look(one, FRESH)
    assert said(one) == HEARD
    loops.hear(one, ago(2), make.NOW, HOUR)
    loops.look(one, LOOPING)
    loops.hear(one, ago(2), make.NOW, HOUR)
    assert said(one) == SEEN


def test_how_long_it_loops_counts_from_the_first_word():
    one = draft()
    assert loops.age(one.run.stream, make.NOW) is None
    loops.look(one, LOOPING)
    later = draft(one.run, at=40)
    loops.look(later, replace(LOOPING, looping_seconds=41.0))
    assert loops.age(later.run.stream, make.later(60)) == timedelta(seconds=60)


# The plan


def planned(run: Run, session: object, *, at: float, timeout: float | None, retention: float = 3600) -> Plan:
    policy = Policy(
        loop_timeout=None if timeout is None else timedelta(seconds=timeout),
        block_retention=timedelta(seconds=retention),
    )
    return plan(Desired((run,)), Observed((make.view(session),)), policy, make.later(at))


def looping_run() -> Run:
    thought = planned(make.run(State.LIVE, make.placement()), LOOPING, at=0, timeout=None)
    [change] = thought.changes
    assert change.run.stream.condition(ConditionType.LOOPING).status is ConditionStatus.TRUE
    return change.run


@pytest.mark.parametrize(("at", "timeout"), [(1e6, None), (59, 60)], ids=["off", "too early"])
def test_without_the_time_a_loop_is_only_a_condition(at: float, timeout: float | None):
    assert planned(looping_run(), LOOPING, at=at, timeout=timeout).is_empty


@pytest.mark.parametrize("retention", [3600, 0], ids=["blocked", "not blocked"])
def test_after_the_time_it_ends_and_its_key_is_blocked(retention: float):
    [change] = planned(looping_run(), LOOPING, at=60, timeout=60, retention=retention).changes
    stream = change.run.stream
    assert (stream.state, stream.reason) == (State.ENDED, Reason.LOOP_DETECTED)
    assert stream.reason_detail == "the same pictures come again every 8 s, for 60 s"
    assert [t.event for t in change.transitions] == [Event.LOOP_DETECTED]
    if not retention:
        assert change.block is None
        return
    assert change.block is not None
    assert (change.block.key, change.block.stream_id, change.block.reason) == (make.KEY, make.ID, Reason.LOOP_DETECTED)
    assert change.block.expires_at == make.later(60 + 3600)


def test_one_that_has_not_begun_does_not_end_as_a_loop():
    pending = make.run(State.PENDING)
    one = draft(pending)
    loops.hear(one, ago(7200), make.NOW, HOUR)
    thought = plan(Desired((one.run,)), Observed(()), Policy(loop_timeout=timedelta(seconds=1)), make.later(60))
    assert all(change.run.stream.state is State.PENDING for change in thought.changes)
