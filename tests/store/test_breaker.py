"""What of the breaker outlives a controller, and approvals that count once."""

from dataclasses import replace

from controller.domain.breaker import APPROVAL_LASTS, Breaker
from controller.domain.model import Key, StreamId
from controller.domain.observation import DriftKey, Observed
from controller.domain.plan import DriftKind, Plan, Policy, Standing
from controller.store import approvals, breaker, dialects, outbox, plans, streams
from controller.store.engine import Database
from controller.store.plans import Made
from controller.store.recollection import Recollection
from tests.fakes.domain_values import NOW, P1, later, session, view

OPEN = Breaker(NOW, "40 of 40 sessions", ((NOW, 3), (later(1), 2)))
GHOSTS = Observed((view(*(session(stream_id=StreamId(f"x{n}"), key=Key(f"ghost-{n}")) for n in range(5))),))
IMPATIENT = Policy(orphan_grace=later(0) - NOW, orphan_looks=1)


async def test_the_breaker_is_closed_until_it_was_written_and_then_as_it_was(database: Database) -> None:
    assert await database.read(breaker.load) == Breaker()
    await database.write(breaker.save, OPEN)
    assert await database.read(breaker.load) == OPEN
    assert (await database.read(streams.desired)).breaker == OPEN
    await database.write(breaker.save, Breaker())
    assert await database.read(breaker.load) == Breaker()


async def test_an_approval_holds_for_a_while_and_counts_once(database: Database) -> None:
    given = await database.write(approvals.give, "abc", owner="bob", why="it is right")
    assert (given.expires_at - given.at, given.used_at) == (APPROVAL_LASTS, None)
    assert (await database.read(streams.desired)).approvals == {"abc"}
    assert await database.read(approvals.load_valid, given.expires_at) == frozenset()
    assert await database.write(approvals.use, "other", now=given.at) is False
    assert await database.write(approvals.use, "abc", now=given.expires_at) is False
    assert await database.write(approvals.use, "abc", now=given.at) is True
    assert await database.write(approvals.use, "abc", now=given.at) is False
    assert (await database.read(streams.desired)).approvals == frozenset()
    [kept] = (await database.read(approvals.page)).items
    assert kept == replace(given, used_at=given.at)
    assert await database.write(approvals.prune, before=given.at, keep_max=0) == 1


async def make(database: Database, standing: Standing) -> Made:
    return await database.read(plans.make, GHOSTS, IMPATIENT, None, recollection=Recollection(), standing=standing)


async def save(database: Database, made: Made) -> Plan:
    await database.write(plans.save, made.plan, made.observed, keys=None, now=made.now, token=1, duration_seconds=0.01)
    return made.plan


async def test_an_approved_plan_is_carried_out_once_whoever_else_has_planned_it(database: Database) -> None:
    held = await save(database, await make(database, Standing()))
    assert (held.stops, held.breaker.is_open) == ((), True)
    assert (await database.read(breaker.load)).opened_at == held.breaker.opened_at
    await database.write(approvals.give, held.digest, owner="bob", why="")
    first, second = await make(database, held.standing), await make(database, held.standing)
    assert len(first.plan.stops) == len(second.plan.stops) == 5
    await save(database, first)
    assert not (await database.read(breaker.load)).is_open
    assert len(await database.read(outbox.pending)) == 5

    def settle(session) -> None:
        now = dialects.db_now(session)
        outbox.settle(session, {pending.id: "stopped" for pending in outbox.due(session, now, 10)}, now=now)

    await database.write(settle)
    await save(database, second)
    assert await database.read(outbox.pending) == frozenset(), "the approval was used up"


async def test_runs_that_were_closed_since_the_last_glance_are_counted(database: Database) -> None:
    assert await database.read(streams.count_closed_since, NOW) == 0
    made = await make(database, Standing())
    assert made.desired.closed_since == 0
    assert (await make(database, made.plan.standing)).plan.standing.glance is not None
    key = DriftKey(DriftKind.ORPHAN_UNKNOWN, P1, "x0", 1)
    await save(database, made)
    assert key in (await make(database, made.plan.standing)).desired.drifts
