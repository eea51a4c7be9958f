"""Who leads, and what of a leader runs when: two controllers on one database, in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from controller.errors import DatabaseUnavailableError, LeaseLostError
from controller.reconcile.leadership import GOODBYE_SECONDS, Leadership
from controller.store import counters, lease, tables
from controller.store.engine import Database
from controller.store.term import Pace, Term
from tests.fakes.virtual_database import open_virtual

pytestmark = pytest.mark.looptime

PACE = Pace(ttl_seconds=15.0, renew_seconds=5.0)


class Controller:
    """One of them. ``works`` while its work of a term runs; ``stands_by`` while the other thing does."""

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.database = database
        self.works = 0
        self.stands_by = 0
        self.told = 0
        self.begun: list[float] = []
        self.ended: list[float] = []
        self.lingers_seconds = 0.0
        self.dead: set[str] = set()
        self.term: Term | None = None
        self._clock = asyncio.get_running_loop().time
        self.leadership = Leadership(
            database,
            name,
            pace=PACE,
            clock=self._clock,
            lead=self._lead,
            stand_by=self._stand_by,
            changed=self._count,
            is_known_dead=self.dead.__contains__,
        )

    def _count(self) -> None:
        self.told += 1

    def _lead(self, term: Term):
        self.term = term
        self.begun.append(self._clock())
        return {"loop": self._work, "dispatcher": self._work}

    async def _work(self) -> None:
        self.works += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.works -= 1
            self.ended.append(self._clock())
            await asyncio.sleep(self.lingers_seconds)

    async def _stand_by(self) -> None:
        self.stands_by += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.stands_by -= 1

    @property
    def leads(self) -> bool:
        assert self.leadership.is_leader == (self.works == 2) == (self.stands_by == 0)
        return self.leadership.is_leader


class Plug:
    """Pulled out, the database does not answer whoever has this plug."""

    def __init__(self) -> None:
        self.is_out = False

    def __call__(self, _point: str) -> None:
        if self.is_out:
            raise DatabaseUnavailableError("pulled the plug")


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    path = tmp_path / "penstock.db"
    database = open_virtual(path)
    await database.write(tables.create)
    await database.dispose()
    return path


@pytest.fixture
def plug() -> Plug:
    return Plug()


@pytest.fixture
async def a(file: Path, plug: Plug) -> AsyncIterator[Controller]:
    database = open_virtual(file, plug)
    yield Controller(database, "a")
    await database.dispose()


@pytest.fixture
async def b(file: Path) -> AsyncIterator[Controller]:
    database = open_virtual(file)
    yield Controller(database, "b")
    await database.dispose()


@contextlib.asynccontextmanager
async def running(*controllers: Controller) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(controller.leadership.run()) for controller in controllers]
        await asyncio.sleep(0.5)
        yield tasks
        for task in tasks:
            task.cancel()


async def test_one_leads_and_the_other_stands_by_for_as_long_as_it_lives(a: Controller, b: Controller):
    async with running(a, b):
        for _ in range(30):
            assert (a.leads, b.leads) == (True, False)
            await asyncio.sleep(10)
        assert (a.leadership.leader, b.leadership.leader) == ("a", "a")
        assert (a.leadership.terms, b.leadership.terms) == (1, 0)
        assert a.told
        assert b.told


async def test_one_that_ends_hands_over_within_three_seconds(a: Controller, b: Controller):
    async with running(a, b) as tasks:
        began = asyncio.get_running_loop().time()
        tasks[0].cancel()
        await asyncio.sleep(3)
        assert b.leads
        assert b.begun[0] - began <= 1.1
        assert (a.works, a.stands_by) == (0, 0)


async def test_a_bell_is_quicker_than_the_next_look(a: Controller, b: Controller):
    async with running(a, b) as tasks:
        tasks[0].cancel()
        await asyncio.sleep(0)
        await asyncio.wait(tasks[:1])
        b.leadership.wake()
        await asyncio.sleep(0.01)
        assert b.leads


async def test_one_that_vanishes_is_replaced_when_its_lease_has_expired(a: Controller, b: Controller):
    taken = await a.database.write(lease.acquire, "gone", PACE.ttl)
    async with running(b):
        began = asyncio.get_running_loop().time()
        assert not b.leads
        await asyncio.sleep(13)
        assert not b.leads
        await asyncio.sleep(3)
        assert b.leads
        assert b.begun[0] - began < PACE.ttl_seconds + 0.2
        assert b.term is not None
        assert b.term.token > taken.claim.token


async def test_one_that_is_known_to_be_dead_is_not_waited_for(a: Controller, b: Controller):
    await a.database.write(lease.acquire, "gone", PACE.ttl)
    async with running(b):
        assert not b.leads
        b.dead.add("gone")
        await asyncio.sleep(1.1)
        assert b.leads


async def test_one_that_cannot_renew_stops_before_another_may_begin(a: Controller, b: Controller, plug: Plug):
    async with running(a, b):
        plug.is_out = True
        with structlog.testing.capture_logs() as lines:
            await asyncio.sleep(25)
        assert (a.leads, b.leads) == (False, True)
        assert a.ended[0] < b.begun[0]
        assert {line["event"] for line in lines} >= {"leadership.not_renewed", "leadership.ended", "leadership.gained"}
        plug.is_out = False
        await asyncio.sleep(5)
        assert (a.leads, b.leads) == (False, True)
        assert a.leadership.leader == "b"


async def test_a_short_outage_changes_nothing(a: Controller, plug: Plug):
    async with running(a):
        plug.is_out = True
        await asyncio.sleep(7)
        assert a.leads
        plug.is_out = False
        await asyncio.sleep(60)
        assert a.leads
        assert a.leadership.terms == 1


async def test_one_that_is_alone_leads_again_after_a_long_outage_with_a_higher_token(a: Controller, plug: Plug):
    async with running(a):
        before = a.term
        plug.is_out = True
        await asyncio.sleep(60)
        assert not a.leads
        plug.is_out = False
        await asyncio.sleep(2)
        assert a.leads
        assert a.term is not None
        assert before is not None
        assert a.term.token > before.token
        assert not before.is_trusted


async def test_one_that_was_replaced_learns_it_and_stands_by(a: Controller, b: Controller):
    """As one who slept through its lease: the row says what its own clock does not."""
    async with running(a):
        taken = await b.database.write(lease.acquire, "b", PACE.ttl, dead=(await a.database.read(lease.load)).claim)
        assert taken.claim.holder == "b"
        await asyncio.sleep(6)
        assert not a.leads
        assert a.leadership.leader == "b"


async def test_work_that_meets_a_lost_lease_ends_the_term_and_not_the_process(a: Controller, b: Controller):
    async def write_too_late() -> None:
        await asyncio.sleep(1)
        assert a.term is not None
        async with asyncio.TaskGroup() as group:  # as the dispatcher does it
            group.create_task(a.term.write(counters.raise_token))

    a.leadership._lead = lambda term: {**a._lead(term), "late": write_too_late}
    async with running(a):
        claim = (await a.database.read(lease.load)).claim
        await b.database.write(lease.acquire, "b", PACE.ttl, dead=claim)
        highest = await b.database.read(counters.current_token)
        await asyncio.sleep(1)
        assert not a.leads
        assert await b.database.read(counters.current_token) == highest


async def test_a_fault_in_the_work_ends_the_process_and_gives_the_lease_back(a: Controller, b: Controller):
    async def fail() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    a.leadership._lead = lambda term: {**a._lead(term), "bad": fail}
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with running(a):
            await asyncio.sleep(10)
    assert not (await b.database.read(lease.load)).is_held


async def test_work_that_does_not_end_keeps_the_lease_no_longer_than_a_goodbye(a: Controller, b: Controller):
    a.lingers_seconds = 3600.0
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(controller.leadership.run()) for controller in (a, b))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(GOODBYE_SECONDS + 1.1)
        assert b.leads
        with pytest.raises(LeaseLostError):
            a.term.check()
        second.cancel()


async def test_who_has_not_led_yet_can_do_nothing(a: Controller):
    over = a.leadership.no_term()
    with pytest.raises(LeaseLostError):
        over.check()
    with pytest.raises(LeaseLostError):
        await over.write(counters.raise_token)
