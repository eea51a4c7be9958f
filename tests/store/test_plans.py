"""What one cycle of the control loop writes, with a real plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.domain.model import Change, CommandKind, Key, PlacementState, State, StreamId
from controller.domain.observation import Desired, DriftKey, Freshness, Observed, ProxyView
from controller.domain.plan import DriftKind, Plan, Policy, plan
from controller.store import drift, outbox, plans, proxies, runs, streams
from controller.store.engine import Database
from controller.store.plans import Saved
from controller.store.recollection import Recollection
from tests.fakes.domain_values import ID, KEY, NOW, P1, P2, later, placement, run, session, view

STRANGER = session(stream_id=StreamId("stranger"), key=Key("strange"))


async def read(database: Database, observed: Observed, keys: frozenset[Key] | None = None) -> Desired:
    listed = {s.stream_id for v in observed.proxies for s in v.sessions}
    return await database.read(streams.desired, listed, keys)


async def cycle(
    database: Database, *views: ProxyView, seconds: float = 0, keys: frozenset[Key] | None = None
) -> tuple[Plan, Saved]:
    observed = Observed(views)
    planned = plan(await read(database, observed, keys), observed, Policy(), later(seconds))
    return planned, await save(database, planned, observed, seconds, keys)


async def save(
    database: Database, planned: Plan, observed: Observed, seconds: float = 0, keys: frozenset[Key] | None = None
) -> Saved:
    return await database.write(
        plans.save,
        planned,
        observed,
        keys=keys,
        now=later(seconds),
        token=3,
        duration_seconds=0.01,
        views=observed.proxies,
    )


async def test_a_plan_is_made_on_one_reading_at_the_databases_time(database: Database) -> None:
    await begin(database)
    observed = Observed((view(STRANGER),))
    made = await database.read(plans.make, observed, Policy(), None, recollection=Recollection())
    desired = await read(database, observed)
    assert (made.desired.runs, made.desired.pending, made.observed) == (desired.runs, desired.pending, observed)
    assert abs(made.now - datetime.now(UTC)) < timedelta(seconds=5)
    assert made.plan == plan(made.desired, observed, Policy(), made.now)
    only = await database.read(plans.make, observed, Policy(), frozenset({Key("strange")}), recollection=Recollection())
    assert (only.desired.runs, only.desired.keys) == ((), {"strange"})


async def begin(database: Database) -> None:
    await database.write(streams.save, [Change(run(State.PENDING, generation=0), is_new=True)], now=NOW)


async def test_a_plan_is_carried_out_and_then_empty(database: Database) -> None:
    await begin(database)
    planned, saved = await cycle(database, view())
    assert (planned.is_empty, saved.stale) == (False, frozenset())
    [pending] = await database.read(outbox.due, NOW, 10)
    assert (pending.command.kind, pending.command.proxy_id) == (CommandKind.ENSURE, P1)
    placed = await database.read(streams.find, KEY)
    assert placed is not None
    assert [p.state for p in placed.placements] == [PlacementState.REQUESTED]
    again, _ = await cycle(database, view(), seconds=1)
    assert again.is_empty


async def test_a_run_that_moved_meanwhile_is_left_out_and_named(database: Database) -> None:
    await begin(database)
    other = run(State.PENDING, id=StreamId("s2"), key=Key("k2"), generation=0)
    await database.write(streams.save, [Change(other, is_new=True)], now=NOW)
    observed = Observed((view(),))
    planned = plan(await read(database, observed), observed, Policy(), NOW)
    moved = await database.read(streams.find, KEY)
    assert moved is not None
    await database.write(streams.save, [Change(replace(moved, stream=replace(moved.stream, seq=9)))], now=NOW)
    saved = await save(database, planned, observed)
    assert saved.stale == {KEY}
    assert [p.command.key for p in await database.read(outbox.due, NOW, 10)] == ["k2"]
    assert (await database.read(streams.find, KEY)).stream.seq == 9


async def test_the_cycle_is_written_down(database: Database) -> None:
    await begin(database)
    planned, _ = await cycle(database, view(), view(proxy_id=P2, freshness=Freshness.STALE))
    [entry] = (await database.read(runs.page)).items
    assert (entry.cycle.at, entry.cycle.token, entry.cycle.duration_seconds) == (NOW, 3, 0.01)
    assert entry.cycle.actions == planned.actions
    assert (entry.cycle.counts["proxies"], entry.cycle.counts["proxies_fresh"]) == (2, 1)


async def test_what_was_seen_of_the_proxies_is_kept(database: Database) -> None:
    seen = view(session(), public_url="http://p1")
    await cycle(database, seen)
    [known] = await database.read(proxies.load)
    assert (known.view, known.saved_at) == (seen, NOW)


class TestDriftLife:
    async def test_from_first_seen_to_stopped_to_repaired(self, database: Database) -> None:
        """A session nobody asked for: held twice, stopped with its grace, closed when it is gone."""
        await cycle(database, view(STRANGER))
        [held] = (await database.read(drift.page)).items
        assert (held.drift.kind, held.looks, held.first_seen) == (DriftKind.ORPHAN_UNKNOWN, 1, NOW)
        assert (held.gate != "", held.repaired_at) == (True, None)

        await cycle(database, view(STRANGER), seconds=61)
        [stopped] = (await database.read(drift.page)).items
        assert (stopped.id, stopped.looks, stopped.last_seen, stopped.gate) == (held.id, 2, later(61), "")
        [pending] = await database.read(outbox.due, later(61), 10)
        assert (pending.command.kind, pending.command.stream_id) == (CommandKind.STOP, "stranger")

        await cycle(database, view(), seconds=62)
        assert (await database.read(drift.page)).items == ()
        [repaired] = (await database.read(drift.page, open_only=False)).items
        assert (repaired.id, repaired.repaired_at) == (held.id, later(62))

    async def test_what_comes_back_is_a_new_drift(self, database: Database) -> None:
        for seconds, seen in enumerate([view(STRANGER), view(), view(STRANGER)]):
            await cycle(database, seen, seconds=seconds)
        newest, oldest = (await database.read(drift.page, open_only=False)).items
        assert (newest.first_seen, newest.looks, newest.repaired_at) == (later(2), 1, None)
        assert oldest.repaired_at == later(1)

    @pytest.mark.parametrize("freshness", [Freshness.STALE, Freshness.LOST])
    async def test_unknown_is_not_repaired(self, database: Database, freshness: Freshness) -> None:
        await cycle(database, view(STRANGER))
        await cycle(database, view(freshness=freshness), seconds=1)
        [still] = (await database.read(drift.page)).items
        assert (still.looks, still.last_seen) == (1, NOW)

    async def test_a_look_at_some_keys_says_nothing_about_others(self, database: Database) -> None:
        await begin(database)
        await cycle(database, view(STRANGER))
        await cycle(database, view(), seconds=1, keys=frozenset({KEY}))
        assert len((await database.read(drift.page)).items) == 1
        await cycle(database, view(), seconds=2, keys=frozenset({Key("strange")}))
        assert (await database.read(drift.page)).items == ()

    async def test_a_lost_proxy_is_over_once_its_streams_were_moved(self, database: Database) -> None:
        value = run(State.LIVE, placement())
        await database.write(streams.save, [Change(value, is_new=True, placements=value.placements)], now=NOW)
        lost = view(freshness=Freshness.LOST, error="no answer")
        for seconds in (1, 2):
            await cycle(database, lost, view(proxy_id=P2), seconds=seconds)
        [moved] = (await database.read(drift.page, open_only=False)).items
        assert (moved.drift.kind, moved.repaired_at) == (DriftKind.PROXY_LOST, later(2))

    async def test_what_is_open_is_part_of_the_next_reading(self, database: Database) -> None:
        await cycle(database, view(STRANGER))
        key = DriftKey(DriftKind.ORPHAN_UNKNOWN, P1, "stranger", 1)
        assert (await database.read(drift.load_open))[key].looks == 1
        assert await database.read(drift.load_open, [KEY]) == {}
        assert key in (await database.read(streams.desired)).drifts

    async def test_pages_filters_and_pruning(self, database: Database) -> None:
        strangers = [session(stream_id=StreamId(f"x{n}"), key=Key(f"y{n}")) for n in range(5)]
        await cycle(database, view(*strangers))
        await cycle(database, view(strangers[0]), seconds=1)
        first = await database.read(drift.page, open_only=False, limit=3)
        second = await database.read(drift.page, open_only=False, limit=3, cursor=first.next_cursor)
        assert ([len(first.items), len(second.items)], second.next_cursor) == ([3, 2], None)
        [one] = (await database.read(drift.page, open_only=False, stream_id=StreamId("x3"))).items
        assert one.drift.key == "y3"
        assert await database.write(drift.prune, repaired_before=later(1)) == 0
        assert await database.write(drift.prune, repaired_before=later(2)) == 4
        assert len((await database.read(drift.page, open_only=False)).items) == 1


async def test_nothing_of_a_plan_is_kept_when_the_commit_fails(url: str) -> None:
    def crash(name: str) -> None:
        if name == "commit.before" and armed:
            raise ZeroDivisionError

    armed: list[bool] = []
    database = Database(url, failpoint=crash)
    await begin(database)
    armed.append(True)
    with pytest.raises(ZeroDivisionError):
        await cycle(database, view(STRANGER))
    found = await database.read(streams.find, ID)
    assert found is not None
    assert found.placements == ()
    assert await database.read(outbox.pending) == frozenset()
    assert (await database.read(drift.page)).items == ()
    assert (await database.read(runs.page)).items == ()
    await database.dispose()
