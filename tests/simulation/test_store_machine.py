"""The store under crashes, against itself without: the same messages, each of which may be delivered again.

One database crashes before or after its commits, and gets every batch once more then, as from a broker that never saw
the acknowledgement. The other never crashes. In the end both have to say the same of every stream.
"""

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.domain.events import BirthReported, Incoming, Order, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import StreamId
from controller.store import record, tables
from controller.store.engine import Database
from tests.fakes import domain_values as make
from tests.simulation.clock import KilledError, VirtualLoop

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = st.sampled_from(["a", "b"])
NUMBERS = st.tuples(st.integers(1, 3), st.integers(1, 4))
POINTS = st.sampled_from(["", "", "commit.before", "commit.after"])
TOLD = ("key", "epoch", "announced_epoch", "seq", "state", "reason", "spec", "births_missed")


def announced(key: str, numbers: tuple[int, int], *, other: bool = False) -> StreamAnnounced:
    spec = make.OTHER_SPEC if other else make.SPEC
    return StreamAnnounced(make.SOURCE, make.Key(key), spec, make.CAUSE, Order(*numbers), "boot-1")


def ended(key: str, numbers: tuple[int, int]) -> StreamEndAnnounced:
    return StreamEndAnnounced(make.SOURCE, make.Key(key), make.CAUSE, Order(*numbers), "boot-1")


def _run(loop: VirtualLoop, work: Awaitable[Any]) -> None:
    async def run() -> None:
        await work

    loop.run_until(run())


class Books:
    """One database in memory, and a hand that can be stopped at its commits."""

    def __init__(self) -> None:
        self.dies_at = ""
        self.database = Database("sqlite://", executor="inline", failpoint=self._fail)
        tables.metadata.create_all(self.database._writer)
        self._ids = count(1)
        self._loop = VirtualLoop()

    def _fail(self, place: str) -> None:
        if place == self.dies_at:
            self.dies_at = ""
            raise KilledError

    def take(self, events: Sequence[Incoming], now: datetime, dies_at: str = "") -> None:
        """Record a batch; whoever dies on the way gets it again."""
        self.dies_at = dies_at
        try:
            self._record(events, now)
        except KilledError:
            self._record(events, now)

    def _record(self, events: Sequence[Incoming], now: datetime) -> None:
        def new_id() -> StreamId:
            return StreamId(f"stream-{next(self._ids)}")

        _run(self._loop, self.database.write(record.record, events, now=now, new_id=new_id))

    def read(self, *statements: object) -> list[list[tuple[object, ...]]]:
        with Session(self.database._reader) as session:
            return [[tuple(row) for row in session.execute(statement)] for statement in statements]  # type: ignore[call-overload]

    def told(self) -> list[list[tuple[object, ...]]]:
        columns = [tables.streams.c[name] for name in TOLD]
        floors = select(tables.floors.c.key, tables.floors.c.epoch).order_by(tables.floors.c.key)
        return self.read(select(*columns).order_by(tables.streams.c.key, tables.streams.c.epoch), floors)

    def close(self) -> None:
        self.database._writer.dispose()


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.births = count(1)
        self.crashing, self.steady = Books(), Books()

    def teardown(self) -> None:
        self.crashing.close()
        self.steady.close()

    def deliver(self, events: Sequence[Incoming], point: str) -> None:
        self.now += timedelta(seconds=1)
        self.crashing.take(events, self.now, point)
        self.steady.take(events, self.now)

    @rule(key=KEYS, numbers=NUMBERS, other=st.booleans(), point=POINTS)
    def start(self, key: str, numbers: tuple[int, int], other: bool, point: str) -> None:
        self.deliver([announced(key, numbers, other=other)], point)

    @rule(key=KEYS, numbers=NUMBERS, point=POINTS)
    def end(self, key: str, numbers: tuple[int, int], point: str) -> None:
        self.deliver([ended(key, numbers)], point)

    @rule(listed=st.dictionaries(KEYS, NUMBERS), point=POINTS)
    def birth(self, listed: dict[str, tuple[int, int]], point: str) -> None:
        streams = tuple(announced(key, numbers) for key, numbers in listed.items())
        self.deliver([BirthReported(make.SOURCE, "boot-1", streams, make.CAUSE, next(self.births))], point)

    @rule(key=KEYS, first=NUMBERS, then=NUMBERS, point=POINTS)
    def batch(self, key: str, first: tuple[int, int], then: tuple[int, int], point: str) -> None:
        self.deliver([announced(key, first), ended(key, first), announced(key, then)], point)

    @invariant()
    def both_say_the_same(self) -> None:
        assert self.crashing.told() == self.steady.told()

    @invariant()
    def history_explains_every_state(self) -> None:
        """Each transition begins where the one before has ended, and the last leads to where the stream is."""
        t, s = tables.transitions.c, tables.streams.c
        moves, states = self.crashing.read(
            select(t.stream_id, t.from_state, t.to_state).order_by(t.id), select(s.id, s.state)
        )
        stands: dict[object, object] = {}
        for stream_id, before, after in moves:
            assert stands.get(stream_id) == before
            stands[stream_id] = after
        assert stands == dict(states)  # type: ignore[arg-type]


Histories.TestCase.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestHistories = Histories.TestCase
