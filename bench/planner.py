"""The planner alone: pure values in, a plan out."""

import statistics
import time
from collections.abc import Sequence

from bench.report import Part, Row, milliseconds
from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    PlacementState,
    Run,
    State,
    StreamId,
)
from controller.domain.observation import Desired, Observed, Session, SessionState
from controller.domain.plan import Policy, plan
from tests.fakes import domain_values as values

STREAMS = 1000
REPETITIONS = 25
NOTE = f"`domain.plan.plan` on values in memory, with one proxy; the median of {REPETITIONS} calls."


def measure() -> Part:
    numbers = range(STREAMS)
    settled = [_settled(number) for number in numbers]
    burst = [_new(number) if number % 2 else _ended(number) for number in numbers]
    return Part(
        "The planner",
        NOTE,
        (
            _row(f"{STREAMS} settled runs, {STREAMS} sessions", settled, [_session(n) for n in numbers], changes=0),
            _row(f"{STREAMS // 2} new runs, {STREAMS // 2} ended ones", burst, [], changes=STREAMS),
        ),
    )


def _row(what: str, runs: Sequence[Run], sessions: Sequence[Session], *, changes: int) -> Row:
    desired, observed = Desired(tuple(runs)), Observed((values.view(*sessions),))
    took = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        planned = plan(desired, observed, Policy(), values.later(1))
        took.append(time.perf_counter() - began)
        # A plan of something else would be timed in vain.
        assert len(planned.changes) == changes, planned.actions[:3]
    seconds = statistics.median(took)
    return Row(what, milliseconds(seconds), f"{seconds / len(runs) * 1e6:.0f} µs a run")


def _session(number: int) -> Session:
    return values.session(SessionState.IDLE, stream_id=_id(number), key=_key(number))


def _settled(number: int) -> Run:
    """A run of which everything has been said already."""
    return values.run(
        State.LIVE,
        values.placement(stream_id=_id(number)),
        id=_id(number),
        key=_key(number),
        conditions=(
            _condition(ConditionType.FLOWING, ConditionStatus.UNKNOWN, "Idle", "nobody watches"),
            _condition(ConditionType.PLACED, ConditionStatus.TRUE, "Observed", f"on proxy {values.P1}"),
        ),
    )


def _new(number: int) -> Run:
    return values.run(State.PENDING, id=_id(number), key=_key(number), generation=0)


def _ended(number: int) -> Run:
    """A run whose stop was answered, and whose session is no longer listed."""
    stopping = values.placement(PlacementState.STOPPING, stream_id=_id(number), reply_sequence=1, stop_replied=True)
    return values.run(State.ENDED, stopping, id=_id(number), key=_key(number))


def _condition(kind: ConditionType, status: ConditionStatus, reason: str, message: str) -> Condition:
    return Condition(kind, status, reason, message, values.NOW, 1)


def _id(number: int) -> StreamId:
    return StreamId(f"stream-{number}")


def _key(number: int) -> Key:
    return Key(f"cam-{number}")
