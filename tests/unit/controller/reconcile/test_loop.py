import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from controller.domain import model as domain
from controller.domain.budgets import Limits
from controller.domain.controls import MODE, PAUSE, Scope
from controller.domain.model import Change, Command, CommandKind, ConditionType, Key, ProxyId, Run, State, StreamId
from controller.domain.observation import ProxyView
from controller.domain.plan import Policy, Verb
from controller.errors import DatabaseUnavailableError
from controller.proxy_client import fingerprint
from controller.reconcile import loop
from controller.reconcile.queue import Look
from controller.store import approvals, controls, dialects, drift, outbox, plans, runs, streams
from controller.store.engine import Database
from proxy import contract
from proxy.contract import FinishedReason, SessionSpec, Upstream, UpstreamState
from tests.fakes import domain_values as make
from tests.fakes.api_world import open_database
from tests.fakes.control_room import SPEC, ControlRoom, client_of
from tests.fakes.mqtt import until
from tests.fakes.proxy import fake_proxy


async def is_in(room: ControlRoom, key: str, state: str) -> bool:
    return await room.state(key) == state


async def brought_up(room: ControlRoom, key: str = "cam-7") -> Run:
    await room.announce(key)
    await until(lambda: is_in(room, key, "LIVE"), f"{key} is LIVE")
    return await room.run_of(key)


def stranger(key: str) -> SessionSpec:
    return SessionSpec(key=key, upstreams=(Upstream(url="http://origin/x.ts"),))


async def test_a_stream_starts_is_observed_ends_and_closes(room: ControlRoom, p1):
    async with room.running():
        run = await brought_up(room)
        session = p1.views["cam-7"]
        assert (session.stream_id, session.epoch, session.generation) == (run.stream.id, 1, run.stream.generation)
        await room.end("cam-7")
        await until(lambda: is_in(room, "cam-7", "CLOSED"), "CLOSED")
    assert p1.views == {}
    assert (await room.run_of("cam-7")).placements == ()
    assert room.changes > 0


async def test_intent_is_saved_before_a_proxy_is_told(room: ControlRoom, p1):
    await room.announce("cam-7")
    await room.full()
    [placement] = (await room.run_of("cam-7")).placements
    assert (placement.proxy_id, placement.state) == ("p1", "requested")
    assert (await room.database.read(outbox.backlog)).count == 1
    assert p1.views == {}


async def test_a_cycle_again_changes_nothing(room: ControlRoom, p1):
    async with room.running():
        await brought_up(room)
    before = await room.run_of("cam-7")
    for _ in range(2):
        assert (await room.full()).is_empty
    assert await room.run_of("cam-7") == before


async def test_it_is_right_without_any_bell(database, http, p1):
    """Nobody rings and no feed is followed: the resync alone starts and ends a stream."""
    room = await ControlRoom.open(database, [client_of(http, p1.url)], resync_seconds=0.05)
    room.queue.ring = lambda keys, after_seconds=0.0: None
    async with room.running(room.reconciler.run, room.dispatcher.run):
        await brought_up(room)
        await room.end("cam-7")
        await until(lambda: is_in(room, "cam-7", "CLOSED"), "CLOSED")
    assert p1.views == {}


async def test_a_look_at_one_key_leaves_the_others(room: ControlRoom, p1):
    await room.announce("cam-7")
    await room.announce("cam-8")
    planned = await room.reconciler.cycle(Look(frozenset({Key("cam-8")})))
    assert {change.run.stream.key for change in planned.changes} == {"cam-8"}
    assert await room.state("cam-7") == "PENDING"


async def test_a_session_that_is_gone_is_started_again_with_a_higher_generation(room: ControlRoom, p1):
    async with room.running():
        before = await brought_up(room)
        p1.forget()
        await until(lambda: "cam-7" in p1.views, "it runs again")
        await until(lambda: is_in(room, "cam-7", "LIVE"), "LIVE again")
    assert p1.views["cam-7"].generation > before.stream.generation
    assert (await room.run_of("cam-7")).stream.id == before.stream.id


async def test_a_session_that_finished_is_not_started_again(room: ControlRoom, p1):
    async with room.running():
        await brought_up(room)
        p1.finish("cam-7", FinishedReason.UPSTREAM_ENDED)
        await until(lambda: is_in(room, "cam-7", "CLOSED"), "CLOSED")
    assert (await room.run_of("cam-7")).stream.reason == "upstream_ended"
    assert p1.views == {}


async def test_a_stall_and_its_end_are_seen(database, http, p1):
    room = await ControlRoom.open(database, [client_of(http, p1.url)], policy=Policy(flow_grace=timedelta(seconds=10)))
    async with room.running():
        await brought_up(room)
        p1.flow("cam-7", UpstreamState.STALLED, delivered=True, failing_seconds=11.0)
        await until(lambda: is_in(room, "cam-7", "STALLED"), "STALLED")
        p1.flow("cam-7", delivered=True, failing_seconds=None)
        await until(lambda: is_in(room, "cam-7", "LIVE"), "LIVE again")


class Interrupted(Database):
    """Something else is written between the reading of a cycle and its writing."""

    between = None

    async def read(self, work, *args, **kwargs):
        found = await super().read(work, *args, **kwargs)
        if work is plans.make and self.between is not None:
            happen, self.between = self.between, None
            await happen()
        return found


async def test_a_stale_plan_is_dropped_and_looked_at_again(tmp_path, http, p1):
    await (await open_database(tmp_path)).dispose()
    database = Interrupted(f"sqlite:///{tmp_path / 'penstock.db'}", synchronous="NORMAL")
    room = await ControlRoom.open(database, [client_of(http, p1.url)])
    await room.announce("cam-7")
    await room.announce("cam-8")
    await room.queue.take()
    database.between = lambda: room.end("cam-7")
    await room.full()
    ended = await room.run_of("cam-7")
    # Ended before it was placed: placing it after all would have left a session that nobody stops.
    assert (ended.stream.state, ended.placements) == ("CLOSED", ())
    commands = (await database.read(outbox.read_due, 10, ProxyId("p1")))[1]
    assert {pending.command.key for pending in commands} == {"cam-8"}
    assert room.queue.depth == 1, "cam-7 waits for another look"
    await database.dispose()


async def test_only_the_loop_rings_for_a_stale_plan(tmp_path, http, p1):
    """Whoever wrote in between has told nobody: the key is looked at again all the same."""
    await (await open_database(tmp_path)).dispose()
    database = Interrupted(f"sqlite:///{tmp_path / 'penstock.db'}", synchronous="NORMAL")
    room = await ControlRoom.open(database, [client_of(http, p1.url)])
    await room.announce("cam-7")
    await room.queue.take()

    run = await room.run_of("cam-7")
    database.between = lambda: _touch(database, run)
    await room.full()
    assert room.queue.depth == 1
    await database.dispose()


async def _touch(database: Database, run: Run) -> None:
    """Raise a run's version: somebody else has saved it."""

    def save(session) -> None:
        streams.save(session, [Change(run)], now=dialects.db_now(session))

    await database.write(save)


class Trouble:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self, point: str) -> None:
        if point == "commit.before" and self.times:
            self.times -= 1
            raise DatabaseUnavailableError("pulled the plug")


@pytest.mark.parametrize("is_full", [True, False], ids=["of everything", "of one key"])
async def test_a_look_that_the_database_refused_is_taken_again(tmp_path, http, p1, monkeypatch, is_full):
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.05)
    await (await open_database(tmp_path)).dispose()
    trouble = Trouble()
    database = Database(f"sqlite:///{tmp_path / 'penstock.db'}", synchronous="NORMAL", failpoint=trouble)
    room = await ControlRoom.open(database, [client_of(http, p1.url)])
    await room.announce("cam-7")
    if not is_full:
        await room.full()
        room.queue._full_at += 1000
        await room.end("cam-7")
    trouble.times = 3
    with structlog.testing.capture_logs() as lines:
        async with room.running(room.reconciler.run):
            await until(lambda: trouble.times == 0, "refused three times")
            done = room.reconciler.cycles
            await until(lambda: room.reconciler.cycles > done, "a cycle that succeeds")
    assert [line["event"] for line in lines if line["event"] == "reconcile.failed"] == ["reconcile.failed"] * 3
    await database.dispose()


async def test_a_proxy_that_booted_is_told_once_all_was_asked_for(room: ControlRoom, p1):
    await room.announce("cam-7")
    await room.full()
    assert not p1.synced, "a placement was only just decided"
    await room.full()
    assert not p1.synced, "its command waits"
    async with room.running(room.dispatcher.run):
        await until(lambda: bool(p1.views), "asked for")
        await until(lambda: _is_idle(room), "answered")
    await room.full()
    await room.full()
    assert p1.synced
    p1.forget()
    await room.full()
    assert not p1.synced, "another boot knows nothing again"


async def _is_idle(room: ControlRoom) -> bool:
    return (await room.database.read(outbox.backlog)).count == 0


async def test_a_proxy_is_told_without_a_resync(room: ControlRoom, p1):
    async with room.running():
        await brought_up(room)
        await until(lambda: p1.synced, "told", seconds=5)


async def test_what_waits_for_another_proxy_holds_nothing_up(database, http, p1, p2):
    room = await ControlRoom.open(database, [client_of(http, p1.url), client_of(http, p2.url)])
    await room.observer.observe()
    p2.unreachable = True
    stop = Command(CommandKind.STOP, ProxyId("p2"), p2.boot_id, StreamId("old"), Key("old"), 1, 1, None, "because")

    def add(session) -> None:
        outbox.add(session, [stop], now=dialects.db_now(session))

    await database.write(add)
    await room.full()
    assert p1.synced


async def test_a_token_above_ours_is_noticed_without_any_command(room: ControlRoom, p1):
    p1.token_highest = 41
    await room.full()
    assert p1.synced
    assert room.term.token == 42


async def test_who_leads_anew_is_known_to_proxies_that_it_asks_for_nothing(room: ControlRoom, p1):
    p1.inject("s-1", stranger("cam-7"), 1, 1)
    p1.synced, late = True, room.term.token
    await room.term.rise_above(late + 1)
    await room.full()
    assert p1.token_highest == room.term.token > late
    asked = contract.StopRequest(key="cam-7", epoch=1, generation=1, boot_id=p1.boot_id, token=late)
    assert p1.stop("s-1", asked)[0] is contract.StopOutcome.STALE_TOKEN


async def test_a_look_at_one_key_tells_no_proxy_that_it_knows_all(room: ControlRoom, p1):
    await room.reconciler.cycle(Look(frozenset({Key("cam-7")})))
    assert not p1.synced
    assert room.reconciler.full_at is None


async def test_a_proxy_that_restarted_concerns_everything(room: ControlRoom, p1):
    await room.full()
    await room.queue.take()
    p1.forget()
    await room.reconciler.cycle(Look(frozenset({Key("other")})))
    async with asyncio.timeout(5):
        assert (await room.queue.take()).is_full


async def test_looking_at_the_plan_hides_no_restart(room: ControlRoom, p1):
    await room.full()
    await room.queue.take()
    p1.forget()
    await room.reconciler.plan_now()
    await room.reconciler.cycle(Look(frozenset({Key("other")})))
    async with asyncio.timeout(5):
        assert (await room.queue.take()).is_full


async def test_looking_at_the_plan_does_nothing(room: ControlRoom, p1):
    await room.announce("cam-7")
    planned = await room.reconciler.plan_now()
    assert not planned.is_empty
    assert await room.state("cam-7") == "PENDING"
    assert room.reconciler.cycles == 0
    assert (await room.full()).actions == planned.actions


async def test_a_proxy_that_changes_its_name_at_the_wrong_moment_ends_nobody(database, http, p1, monkeypatch):
    """Between the reading and the telling, somebody else has observed again."""
    room = await ControlRoom.open(database, [client_of(http, p1.url)])
    marking = room.reconciler._mark_synced

    async def rename_first(made):
        p1.proxy_id = "another"
        await room.observer.observe()
        await marking(made)

    room.reconciler._mark_synced = rename_first
    await room.full()
    assert room.reconciler.cycles == 1
    [seen] = room.observer.latest.proxies
    assert isinstance(seen, ProxyView) and seen.proxy_id == "another"


async def test_a_cycle_is_a_row_and_drift_a_line(room: ControlRoom, p1):
    p1.inject("s-unknown", stranger("cam-x"), 1, 1)
    with structlog.testing.capture_logs() as lines:
        await room.full()
        await room.full()
    cycles = (await room.database.read(runs.page)).items
    assert len(cycles) >= 1
    held = [line for line in lines if line["event"] == "drift.held"]
    assert {(line["kind"], line["drift_class"], line["key"]) for line in held} == {("orphan_unknown", "N", "cam-x")}
    [entry] = (await room.database.read(drift.page, open_only=True)).items
    assert (entry.drift.stream_id, entry.drift.key) == ("s-unknown", "cam-x")
    assert "cam-x" in p1.views


async def test_sources_are_asked_once_about_a_session_that_nobody_knows(room: ControlRoom, p1):
    await room.full()
    assert room.births_asked == 0
    p1.inject("s-unknown", stranger("cam-x"), 1, 1)
    await room.full()
    await room.full()
    assert room.births_asked == 1


async def test_a_spec_changed_by_hand_is_replaced_in_place_once(database, http, p1):
    room = await ControlRoom.open(database, [client_of(http, p1.url)], policy=Policy(fingerprint=fingerprint))
    async with room.running():
        run = await brought_up(room)
        spec = replace(SPEC, upstreams=(domain.Upstream("http://origin/by-hand.ts"),))
        by_hand = Change(replace(run, stream=replace((await room.run_of("cam-7")).stream, spec=spec)))
        await database.write(streams.save, [by_hand], now=run.stream.created_at)
        room.queue.ring_all()
        await until(lambda: p1.views["cam-7"].generation > run.stream.generation, "replaced")
        await until(lambda: _is_idle(room), "answered")
        await until(lambda: is_in(room, "cam-7", "LIVE"), "LIVE")
    assert p1.views["cam-7"].spec_digest == fingerprint(Key("cam-7"), spec)
    await room.full()  # in case the loop has not yet seen that the old generation is gone
    assert (await room.full()).is_empty
    [entry] = (await database.read(drift.page, open_only=False)).items
    assert (entry.drift.kind, entry.action) == ("wrong_spec", "replace")


async def test_what_a_newcomer_may_not_stop_yet_is_looked_at_again_soon(room: ControlRoom, p1, monkeypatch):
    monkeypatch.setattr(loop, "STARTUP_SECONDS", 0.02)
    await room.announce("cam-7")
    async with room.running():
        await until(lambda: is_in(room, "cam-7", "LIVE"), "LIVE")
    run = await room.run_of("cam-7")
    p1.inject("s-old", stranger("cam-8"), 1, 1)
    closed = make.stream(State.CLOSED, id=StreamId("s-old"), key=Key("cam-8"))
    await room.database.write(streams.save, [Change(Run(closed), is_new=True)], now=run.stream.created_at)
    room.startup = "a list of every proxy"
    async with room.running():
        room.queue.ring_all()
        await until(lambda: _is_held(room, "a list of every proxy"), "held")
        assert "cam-8" in p1.views
        room.startup = ""
        await until(lambda: "cam-8" not in p1.views, "stopped")


async def _is_held(room: ControlRoom, gate: str) -> bool:
    return [entry.gate for entry in (await room.database.read(drift.page)).items] == [gate]


async def test_a_paused_stream_is_left_alone_and_ends_all_the_same(room: ControlRoom, p1):
    said = {"value": "", "owner": "bob", "why": "", "for_seconds": 600}
    async with room.running():
        await brought_up(room)
        await room.database.write(controls.put_now, Scope.STREAM, "cam-7", PAUSE, **said)
        p1.forget()
        await until(lambda: _is_condition(room, "Paused"), "paused")
        await room.full()
        assert p1.views == {}
        await room.database.write(controls.remove, Scope.STREAM, "cam-7", PAUSE)
        room.queue.ring_all()
        await until(lambda: is_in(room, "cam-7", "LIVE"), "LIVE again")
        await room.database.write(controls.put_now, Scope.STREAM, "cam-7", PAUSE, **said)
        await room.end("cam-7")
        await until(lambda: is_in(room, "cam-7", "CLOSED"), "CLOSED")
    assert p1.views == {}


async def _is_condition(room: ControlRoom, name: str) -> bool:
    return name in [condition.type for condition in (await room.run_of("cam-7")).stream.conditions]


IMPATIENT = Policy(orphan_grace=timedelta(), orphan_looks=1)


async def test_an_open_breaker_outlives_its_controller_and_an_approval_releases_it(database, http, p1):
    room = await ControlRoom.open(database, [client_of(http, p1.url)], policy=IMPATIENT)
    for number in range(5):
        p1.inject(f"s-{number}", stranger(f"ghost-{number}"), 1, 1)
    with structlog.testing.capture_logs() as lines:
        held = await room.full()
        await room.full()
    assert [line["digest"] for line in lines if line["event"] == "breaker.opened"] == [held.digest]
    later = await ControlRoom.open(database, [client_of(http, p1.url)], policy=IMPATIENT)
    again = await later.reconciler.plan_now()
    assert (again.digest, again.breaker.opened_at) == (held.digest, held.breaker.opened_at)
    await database.write(approvals.give, held.digest, owner="bob", why="")
    with structlog.testing.capture_logs() as lines:
        async with later.running():
            later.queue.ring_all()
            await until(lambda: not p1.views, "all stopped")
    assert [line["approval"] for line in lines if line["event"] == "breaker.closed"] == [held.digest]


async def test_what_nobody_could_claim_stays(database, http, p1):
    grace = timedelta(seconds=0.01)
    room = await ControlRoom.open(
        database, [client_of(http, p1.url)], policy=Policy(orphan_grace=grace, orphan_looks=1)
    )
    p1.inject("s-old", stranger("ghost"), 1, 1)
    room.heard_seconds = 0.0
    await room.full()
    await asyncio.sleep(2 * grace.total_seconds())
    assert [action.verb for action in (await room.full()).actions] == [Verb.HOLD]
    room.heard_seconds = 1.0
    assert [action.verb for action in (await room.full()).actions] == [Verb.STOP]


async def test_what_waits_for_its_turn_is_looked_at_again_soon(database, http, p1, monkeypatch):
    monkeypatch.setattr(loop, "BUDGET_SECONDS", 0.02)
    limits = Limits(evidenced_per_second=0.75)
    room = await ControlRoom.open(database, [client_of(http, p1.url)], policy=Policy(limits=limits))
    for number in range(4):
        closed = make.stream(State.CLOSED, id=StreamId(f"s-{number}"), key=Key(f"old-{number}"))
        await database.write(streams.save, [Change(Run(closed), is_new=True)], now=make.NOW)
        p1.inject(f"s-{number}", stranger(f"old-{number}"), 1, 1)
    first = await room.full()
    assert (len(first.stops), {action.gate_kind for action in first.actions}) == (3, {None, "budget"})
    async with room.running():
        await until(lambda: not p1.views, "the last one, too", seconds=5)


async def test_what_a_cycle_did_is_counted_and_told_once(room: ControlRoom, p1):
    p1.inject("s-unknown", stranger("cam-x"), 1, 1)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await room.full()
    told = [line["event"] for line in lines if line["event"].startswith(("drift", "reconcile"))]
    assert told == ["drift.held", "reconcile.completed"], "quiet when nothing changed"
    tally = room.reconciler.tally
    assert (tally.detected["orphan_unknown"], tally.held["grace"], tally.results["success"]) == (1, 3, 3)
    p1.forget()
    with structlog.testing.capture_logs() as lines:
        await room.full()
    assert [line["repaired"] for line in lines if line["event"] == "reconcile.completed"] == [1]
    assert (tally.repaired["orphan_unknown"], tally.convergence.buckets[-1]) == (1, ("+Inf", 1.0))
    assert 0 < tally.orphan_seconds < 60


async def test_a_step_that_is_held_is_told_once(room: ControlRoom, p1):
    said = {"value": "observe", "owner": "bob", "why": "", "for_seconds": None}
    await room.database.write(controls.put_now, Scope.GLOBAL, "", MODE, **said)
    await room.announce("cam-7")
    with structlog.testing.capture_logs() as lines:
        await room.full()
        await room.full()
    held = [line for line in lines if line["event"] == "action.held"]
    assert [(line["key"], line["why"]) for line in held] == [("cam-7", "it is not placed")]
    assert held[0]["gate"] == "the end of mode observe of everything, set by bob"


async def test_two_proxies_share_the_streams(database, http, p1, p2):
    room = await ControlRoom.open(database, [client_of(http, p1.url), client_of(http, p2.url)])
    for number in range(10):
        await room.announce(f"cam-{number}")
    async with room.running():
        await until(lambda: len(p1.views) + len(p2.views) == 10, "all run")
    assert (len(p1.views), len(p2.views)) == (5, 5)


async def test_without_a_proxy_nothing_is_decided(database, http):
    async with fake_proxy("gone", token="secret") as proxy:
        url = proxy.url
    room = await ControlRoom.open(database, [client_of(http, url)])
    await room.announce("cam-7")
    await room.full()
    assert await room.state("cam-7") == "PENDING"
    placed = (await room.run_of("cam-7")).stream.condition(ConditionType.PLACED)
    assert (placed.status, placed.reason) == ("False", "NoProxy")
