"""What a leader may do while it leads, by two clocks: its own, and the database's."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from controller.errors import LeaseLostError
from controller.store import counters, dialects, lease
from controller.store.engine import Database
from controller.store.term import Pace, Term

PACE = Pace(ttl_seconds=100.0)


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


async def begin(database: Database, clock: Callable[[], float], holder: str = "a") -> Term:
    asked_at = clock()
    taken = await database.write(lease.acquire, holder, PACE.ttl)
    assert taken.claim.holder == holder
    return Term(database, taken.claim, asked_at=asked_at, pace=PACE, clock=clock)


async def replace(database: Database) -> None:
    known = await database.read(lease.load)
    assert known is not None
    await database.write(lease.acquire, "b", PACE.ttl, dead=known.claim)


def name(session: Session, suffix: str, *, prefix: str = "") -> str:
    dialects.upsert(session, counters.counters, [{"name": prefix + suffix, "value": 1}])
    return prefix + suffix


async def test_a_leader_writes_and_renews(database: Database):
    clock = Clock()
    term = await begin(database, clock)
    assert await term.write(name, "x", prefix="y") == "yx"
    clock.now += 80.0
    assert term.trusted_seconds == pytest.approx(10.0)
    await term.renew()
    assert term.trusted_seconds == pytest.approx(90.0)


async def test_trust_counts_from_before_the_question(database: Database):
    """An answer that took long has used up what it grants."""
    clock = Clock()
    term = await begin(database, clock)
    write = database.write

    async def write_slowly(*args, **kwargs):
        result = await write(*args, **kwargs)
        clock.now += 30.0
        return result

    database.write = write_slowly
    await term.renew()
    assert term.trusted_seconds == pytest.approx(60.0)


async def test_past_its_own_time_it_does_nothing_though_the_row_is_still_its_own(database: Database):
    clock = Clock()
    term = await begin(database, clock)
    clock.now += 91.0
    assert not term.is_trusted
    for attempt in (term.write(name, "late"), term.rise_above(1000)):
        with pytest.raises(LeaseLostError):
            await attempt
    assert await database.read(counters.current_token) == term.token


async def test_replaced_it_does_nothing_though_its_own_clock_allows_it(database: Database):
    term = await begin(database, Clock())
    await replace(database)
    assert term.is_trusted
    for attempt in (term.write(name, "late"), term.renew(), term.rise_above(1000)):
        with pytest.raises(LeaseLostError):
            await attempt
    assert not await term.release()
    known = await database.read(lease.load)
    assert known is not None
    assert (known.claim.holder, known.is_held) == ("b", True)


async def test_the_token_rises_above_what_a_proxy_has_seen_and_the_term_goes_on(database: Database):
    term = await begin(database, Clock())
    await term.rise_above(term.token)
    assert term.token == 1
    await term.rise_above(41)
    assert term.token == 42
    await term.write(name, "x")
    await term.renew()
    assert await term.release()
    assert (await begin(database, Clock(), "c")).token == 43


async def test_given_back_it_is_over(database: Database):
    term = await begin(database, Clock())
    assert await term.release()
    with pytest.raises(LeaseLostError):
        term.check()
    assert PACE.ttl == timedelta(seconds=100)
