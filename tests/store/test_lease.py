"""Who leads, on both databases: one at a time, by the database's clock, with a token that only rises."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from controller.errors import LeaseLostError
from controller.store import counters, lease, tables
from controller.store.engine import Database
from controller.store.lease import Claim, Lease

TTL = timedelta(seconds=15)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def set_expiry(session: Session, at: datetime) -> None:
    session.execute(update(tables.lease).values(expires_at=at))


async def led_by(database: Database, holder: str = "a") -> Claim:
    taken: Lease = await database.write(lease.acquire, holder, TTL)
    assert taken.claim.holder == holder
    return taken.claim


async def test_the_first_who_asks_leads(database: Database):
    assert await database.read(lease.load) is None
    taken = await database.write(lease.acquire, "a", TTL)
    assert (taken.claim, taken.is_held, taken.left) == (Claim("a", 1), True, TTL)
    read = await database.read(lease.load)
    assert read is not None
    assert (read.claim, read.expires_at) == (taken.claim, taken.expires_at)
    assert timedelta() < read.left <= TTL


async def test_nobody_else_gets_it_while_it_is_held(database: Database):
    taken = await database.write(lease.acquire, "a", TTL)
    answer = await database.write(lease.acquire, "b", TTL)
    assert (answer.claim, answer.expires_at) == (taken.claim, taken.expires_at)


async def test_of_many_who_ask_at_once_one_gets_it(url: str):
    databases = [Database(url) for _ in range(4)]
    answers = await asyncio.gather(*(d.write(lease.acquire, f"c{n}", TTL) for n, d in enumerate(databases)))
    assert len({answer.claim for answer in answers}) == 1
    assert answers[0].claim.token == 1
    for opened in databases:
        await opened.dispose()


async def test_an_expired_lease_goes_to_whoever_asks_with_a_higher_token(database: Database):
    before = await led_by(database)
    await database.write(set_expiry, LONG_AGO)
    read = await database.read(lease.load)
    assert read is not None
    assert (read.is_held, read.left) == (False, timedelta())
    assert (await led_by(database, "b")).token > before.token


async def test_renewal_holds_it_for_longer_under_the_same_token(database: Database):
    claim = await led_by(database)
    first = await database.read(lease.load)
    renewed = await database.write(lease.renew, claim, 2 * TTL)
    assert first is not None
    assert renewed.claim == claim
    assert renewed.expires_at > first.expires_at


async def test_renewal_of_an_expired_lease_that_nobody_took_holds_again(database: Database):
    claim = await led_by(database)
    await database.write(set_expiry, LONG_AGO)
    assert (await database.write(lease.renew, claim, TTL)).is_held


async def test_renewal_is_refused_to_whoever_was_replaced(database: Database):
    claim = await led_by(database)
    await database.write(set_expiry, LONG_AGO)
    after = await led_by(database, "b")
    with pytest.raises(LeaseLostError) as lost:
        await database.write(lease.renew, claim, TTL)
    assert (lost.value.holder, lost.value.leader) == ("a", "b")
    read = await database.read(lease.load)
    assert read is not None
    assert read.claim == after


async def test_taking_it_again_is_a_new_token_and_the_old_one_is_refused(database: Database):
    before = await led_by(database)
    after = await led_by(database)
    assert after.token > before.token
    with pytest.raises(LeaseLostError):
        await database.write(lease.renew, before, TTL)
    with pytest.raises(LeaseLostError):
        await database.write(lease.prove, before)


async def test_a_lease_given_back_is_free_at_once_and_cannot_be_renewed(database: Database):
    claim = await led_by(database)
    assert await database.write(lease.release, claim)
    with pytest.raises(LeaseLostError):
        await database.write(lease.renew, claim, TTL)
    after = await led_by(database, "b")
    assert after.token > claim.token
    assert not await database.write(lease.release, claim)
    await database.write(lease.prove, after)


async def test_a_transaction_of_a_replaced_leader_leaves_nothing(database: Database):
    def work(name: str) -> Callable[[Session], int]:
        def insert(session: Session) -> int:
            session.execute(tables.counters.insert().values(name=name, value=1))
            return 7

        return insert

    claim = await led_by(database)
    assert await database.write(lease.proven, claim, work("proven")) == 7
    await database.write(set_expiry, LONG_AGO)
    with pytest.raises(LeaseLostError):  # expired, though nobody took it
        await database.write(lease.proven, claim, work("expired"))
    await led_by(database, "b")
    with pytest.raises(LeaseLostError):
        await database.write(lease.proven, claim, work("replaced"))

    def names(session: Session) -> set[str]:
        return set(session.execute(tables.counters.select()).scalars())

    assert await database.read(names) == {counters.COMMAND_TOKEN, "proven"}


async def test_a_proof_after_the_work_takes_the_work_back(database: Database):
    """Wherever in the transaction it stands, a failed proof rolls all of it back."""

    def work(session: Session) -> None:
        counters.raise_token(session)
        lease.prove(session, Claim("nobody", 1))

    with pytest.raises(LeaseLostError):
        await database.write(work)
    assert await database.read(counters.current_token) == 0


async def test_the_leader_raises_the_token_and_the_next_one_starts_above_it(database: Database):
    claim = await led_by(database)
    assert await database.write(lease.raise_token, claim, above=40) == 41
    await database.write(lease.prove, claim)
    await database.write(lease.renew, claim, TTL)
    await database.write(lease.release, claim)
    assert (await led_by(database, "b")).token == 42
    with pytest.raises(LeaseLostError):
        await database.write(lease.raise_token, claim, above=100)
    assert await database.read(counters.current_token) == 42


async def test_a_token_is_above_those_of_before_there_was_a_lease(database: Database):
    await database.write(counters.raise_token, above=6)
    assert (await led_by(database)).token == 8


async def test_a_clock_that_was_set_back_does_not_keep_a_dead_leader_in_office(database: Database):
    claim = await led_by(database)
    await database.write(set_expiry, datetime.now(UTC) + timedelta(hours=1))
    assert (await led_by(database, "b")).token > claim.token


async def test_the_lease_of_a_process_that_is_known_to_be_dead_is_taken_at_once(database: Database):
    claim = await led_by(database)
    assert (await database.write(lease.acquire, "b", TTL, dead=Claim("a", claim.token + 1))).claim == claim
    after = await database.write(lease.acquire, "b", TTL, dead=claim)
    assert after.claim == Claim("b", claim.token + 1)
