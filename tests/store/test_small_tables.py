"""Sources, floors, quarantine, figures, proxies, counters, controls, cycles, and the keeping of history within limits."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from controller.domain.controls import MODE, PAUSE, Mode
from controller.domain.events import MessageRefused
from controller.domain.model import Block, Change, Floor, Key, Reason, Run, Source, SourceId, State, StreamId
from controller.domain.observation import Freshness, SessionState
from controller.domain.plan import Action, Drift, DriftKind, Verb
from controller.domain.plan.vocabulary import REPORTED
from controller.domain.processes import Known, Latest, Process
from controller.errors import InvalidError
from controller.store import (
    blocks,
    controls,
    counters,
    dialects,
    drift,
    floors,
    processes,
    proxies,
    quarantine,
    retention,
    runs,
    sources,
    stats,
    streams,
    tables,
)
from controller.store.blocks import KnownBlock
from controller.store.controls import Control, Scope
from controller.store.drift import DriftNews
from controller.store.engine import Database
from controller.store.runs import ACTIONS_KEPT_MAX, Cycle
from tests.fakes.domain_values import ID, KEY, NOW, P1, P2, later, session, stream, view

A, B = SourceId("a"), SourceId("b")


async def test_sources_are_written_over(database: Database) -> None:
    first = Source(A, "b1", True, NOW, NOW)
    second = Source(A, "b2", False, later(1), later(2), "b2", 7, later(1))
    await database.write(sources.save, [first, replace(first, id=B)])
    await database.write(sources.save, [second])
    assert await database.read(sources.load, [A, SourceId("x")]) == {A: second}
    assert [source.id for source in await database.read(sources.load_all)] == [A, B]


async def test_silent_sources_are_desired_to_be_told_of_one_by_one(database: Database) -> None:
    silent = Source(A, "b1", True, NOW, NOW, answers_births=True, silent_since=later(5))
    await database.write(
        sources.save, [silent, replace(silent, id=B), replace(silent, id=SourceId("c"), silent_since=None)]
    )
    assert await database.read(sources.load_silent) == (silent, replace(silent, id=B))
    assert (await database.read(streams.desired)).silent == (silent, replace(silent, id=B))
    assert (await database.read(streams.desired, keys=[KEY])).silent == ()
    found = [Drift(DriftKind.SILENT_SOURCE, "", "", "", 0, "it does not answer", source) for source in (A, B)]
    held = [Action.hold(drift, REPORTED) for drift in found]
    opened = await database.write(drift.sync, held, now=NOW)
    assert (opened.opened, await database.write(drift.sync, held, now=later(1))) == (tuple(found), DriftNews())
    await database.write(drift.sync, held[1:], now=later(2))
    assert [known.drift.source_id for known in (await database.read(drift.page)).items] == [B]
    await database.write(drift.sync, [], now=later(3), keys=[KEY])
    assert set(await database.read(drift.load_open)) == {found[1].drift_key}


async def test_a_floor_never_falls(database: Database) -> None:
    names = [(A, Key("k")), (B, Key("k")), (A, Key("other"))]
    await database.write(floors.save, {(A, Key("k")): Floor(5, "b1")}, now=NOW)
    await database.write(floors.save, {(A, Key("k")): Floor(3, "b2"), (B, Key("k")): Floor(1, "")}, now=later(1))
    assert await database.read(floors.load, names) == {names[0]: Floor(5, "b1"), names[1]: Floor(1, "")}
    assert await database.write(floors.prune, raised_before=later(1)) == 1
    assert await database.read(floors.load, names) == {names[1]: Floor(1, "")}
    assert await database.read(floors.load, []) == {}


async def test_processes_are_known_with_the_highest_turn_of_their_source(database: Database) -> None:
    said = {(A, "b1"): Process(7, 1), (A, "b2"): Process(None, 2), (B, "b1"): Process(3)}
    await database.write(processes.save, said, now=NOW)
    await database.write(processes.save, {(A, "b1"): Process(8, 1)}, now=later(1))
    known = await database.read(processes.load, [(A, "b1"), (B, "b1"), (B, "x"), (SourceId("x"), "b1")])
    assert known == Known({(A, "b1"): Process(8, 1), (B, "b1"): Process(3)}, {A: Latest(2, "b2")})
    assert await database.read(processes.load, []) == Known({}, {})


async def test_dead_processes_are_forgotten_and_the_living_one_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "OF_SOURCE_MAX", 3)
    for number in range(1, 7):
        await database.write(processes.save, {(A, f"b{number}"): Process(1, number)}, now=later(number))
    others = {(A, "silent"): Process(5), (B, "b1"): Process(9, 1), (B, "silent"): Process(5)}
    await database.write(processes.save, others, now=later(2.5))

    async def kept() -> set[str]:
        names = [(A, f"b{number}") for number in range(1, 7)]
        return {boot for _, boot in (await database.read(processes.load, [*names, *others])).processes}

    assert await database.write(processes.prune, seen_before=later(0), limit=2) == 2
    assert await database.write(processes.prune, seen_before=later(0)) == 2
    assert await kept() == {"b4", "b5", "b6", "b1", "silent"}
    assert await database.write(processes.prune, seen_before=later(99)) == 3
    assert await kept() == {"b6", "b1"}


async def test_a_block_holds_until_it_expires_or_is_removed(database: Database) -> None:
    held = [Block(Key(key), ID, Reason.LOOP_DETECTED, "again", NOW, later(10 + n)) for n, key in enumerate("ab")]
    await database.write(blocks.add, held)
    assert await database.read(blocks.load, [Key("a"), Key("x")], now=later(9)) == {Key("a"): held[0]}
    assert await database.read(blocks.load, [Key("a"), Key("b")], now=later(10)) == {Key("b"): held[1]}
    for count in (2, 3):
        await database.write(blocks.note_refused, {Key("b"): (A, count)}, now=later(count))
    [known] = (await database.read(blocks.page, now=later(10))).items
    assert known == KnownBlock(held[1], 5, later(3), A)
    await database.write(blocks.add, [replace(held[1], expires_at=later(99))])
    [known] = (await database.read(blocks.page, now=later(98))).items
    assert (known.refused, known.refused_source) == (0, None)
    assert await database.write(blocks.prune, expired_before=later(10)) == 1
    assert await database.write(blocks.remove, Key("b")) == known
    assert await database.write(blocks.remove, Key("b")) is None
    assert (await database.read(blocks.page, now=NOW)).items == ()


async def test_quarantine_is_listed_and_bounded(database: Database) -> None:
    refused = [MessageRefused(f"t{n}", bytes([n]), 1, "unreadable") for n in range(6)]
    await database.write(quarantine.add, refused, now=NOW)
    first = await database.read(quarantine.page, limit=4)
    second = await database.read(quarantine.page, limit=4, cursor=first.next_cursor)
    assert [kept.message for kept in (*first.items, *second.items)] == refused[::-1]
    assert await database.read(quarantine.count) == 6
    assert await database.write(quarantine.prune, before=NOW, keep_max=2) == 4
    assert [kept.message.topic for kept in (await database.read(quarantine.page)).items] == ["t5", "t4"]


@pytest.mark.parametrize("cursor", ["", "-1", "x", "1.5", "²", "9" * 30])
async def test_a_cursor_that_is_no_number_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidError):
        await database.read(quarantine.page, cursor=cursor)


class TestFigures:
    @pytest.fixture(autouse=True)
    async def _stream(self, database: Database) -> None:
        await database.write(streams.save, [Change(Run(stream(State.LIVE)), is_new=True)], now=NOW)

    async def note(self, database: Database, value: float, at: datetime) -> None:
        await database.write(stats.note, {ID: (("bitrate", value),)}, now=at)

    async def test_the_newest_wins(self, database: Database) -> None:
        await self.note(database, 1.0, later(1))
        await self.note(database, 3.0, later(3))
        await self.note(database, 2.0, later(2))
        found = await database.read(stats.newest, [ID, StreamId("x")])
        assert found == {ID: stats.Sample(later(3), (("bitrate", 3.0),))}

    async def test_samples_are_a_bounded_ring(self, database: Database) -> None:
        steps = stats.SAMPLES_MAX + 10
        for step in range(steps):
            await self.note(database, float(step), later(step * stats.SAMPLE_SECONDS))
        kept = [sample.figures[0][1] for sample in await database.read(stats.samples, ID)]
        assert kept == [float(step) for step in range(10, steps)]

    async def test_within_a_sample_the_last_stays(self, database: Database) -> None:
        await self.note(database, 1.0, later(1))
        await self.note(database, 2.0, later(2))
        assert [s.figures for s in await database.read(stats.samples, ID)] == [(("bitrate", 2.0),)]

    async def test_they_go_with_their_stream(self, database: Database) -> None:
        await self.note(database, 1.0, NOW)
        await database.write(lambda s: s.execute(tables.streams.delete()) and None)
        assert await database.read(stats.newest, [ID]) == {}


class TestProxies:
    async def test_views_come_back_as_they_were(self, database: Database) -> None:
        seen = [
            view(session(), session(SessionState.FINISHED, finished_reason="upstream_ended"), proxy_id=P2),
            view(freshness=Freshness.NEVER, observed_at=None, error="refused"),
        ]
        await database.write(proxies.save, seen, now=NOW)
        assert await database.read(proxies.load) == (
            proxies.KnownProxy(seen[1], NOW),
            proxies.KnownProxy(seen[0], NOW),
        )

    async def test_an_older_save_changes_nothing(self, database: Database) -> None:
        await database.write(proxies.save, [view(sequence=11)], now=later(5))
        await database.write(proxies.save, [view(sequence=10)], now=later(4))
        [known] = await database.read(proxies.load)
        assert (known.view.sequence, known.saved_at) == (11, later(5))

    async def test_what_another_version_wrote_is_left_out(self, database: Database) -> None:
        def spoil(session: Session) -> None:
            session.execute(update(tables.proxies).where(tables.proxies.c.id == P1).values(view={"odd": True}))

        await database.write(proxies.save, [view(), view(proxy_id=P2)], now=NOW)
        await database.write(spoil)
        assert [known.view.proxy_id for known in await database.read(proxies.load)] == [P2]

    async def test_a_forgotten_proxy_is_gone(self, database: Database) -> None:
        await database.write(proxies.save, [view(), view(proxy_id=P2)], now=NOW)
        await database.write(proxies.forget, P1)
        assert [known.view.proxy_id for known in await database.read(proxies.load)] == [P2]


async def test_the_token_only_rises(database: Database) -> None:
    assert await database.read(counters.current_token) == 0
    assert await database.write(counters.raise_token) == 1
    assert await database.write(counters.raise_token) == 2
    assert await database.write(counters.raise_token, above=40) == 41
    assert await database.write(counters.raise_token, above=7) == 42
    assert await database.read(counters.current_token) == 42


async def test_controls_hold_until_they_expire(database: Database) -> None:
    mode = Control(Scope.GLOBAL, "", "mode", "observe", "ann", "a look", NOW)
    pause = Control(Scope.STREAM, "cam-7", "pause", "true", "ann", "work on it", NOW, later(10))
    for control in (pause, mode):
        await database.write(controls.put, control)
    assert await database.read(controls.load, now=later(9)) == (mode, pause)
    assert await database.read(controls.load, now=later(10)) == (mode,)
    await database.write(controls.prune, now=later(10))
    assert await database.read(controls.load, now=later(9)) == (mode,)
    changed = replace(mode, value="enforce", owner="bob")
    await database.write(controls.put, changed)
    assert await database.read(controls.load, now=NOW) == (changed,)
    assert await database.write(controls.remove, Scope.GLOBAL, "", "mode") is True
    assert await database.write(controls.remove, Scope.GLOBAL, "", "mode") is False
    assert await database.read(controls.load, now=NOW) == ()


async def test_a_control_is_set_by_the_databases_clock_and_part_of_the_next_reading(database: Database) -> None:
    said = {"value": "", "owner": "bob", "why": "works"}
    control = await database.write(controls.put_now, Scope.STREAM, KEY, PAUSE, **said, for_seconds=60)
    assert control.expires_at == control.set_at + timedelta(seconds=60)
    await database.write(controls.put_now, Scope.PROXY, P1, MODE, **(said | {"value": "observe"}), for_seconds=None)
    assert {held.subject for held in await database.read(controls.load_now)} == {KEY, P1}
    limits = (await database.read(streams.desired)).controls
    assert limits.limit(KEY) == (Mode.OBSERVE, control)
    assert limits.limit("other", P1)[0] is Mode.OBSERVE
    assert limits.limit("other", P2)[0] is Mode.ENFORCE


class TestCycles:
    def action(self, number: int, found: bool = False) -> Action:
        seen = Drift(DriftKind.MISSING_SESSION, "k", "s", "p", number, "not listed") if found else None
        return Action(Verb.PLACE, "k", "s", "p", number, "because", seen, "")

    async def test_they_come_back_newest_first(self, database: Database) -> None:
        cycles = [Cycle(later(n), "resync", 1, 0.5, {"actions": n}, (self.action(n, n == 1),)) for n in range(3)]
        for cycle in cycles:
            await database.write(runs.add, cycle)
        first = await database.read(runs.page, limit=2)
        second = await database.read(runs.page, limit=2, cursor=first.next_cursor)
        assert [known.cycle for known in (*first.items, *second.items)] == cycles[::-1]
        assert await database.write(runs.prune, before=later(1), keep_max=9) == 1

    async def test_of_very_many_actions_drift_is_kept_first(self, database: Database) -> None:
        many = [self.action(n, found=n >= ACTIONS_KEPT_MAX) for n in range(ACTIONS_KEPT_MAX + 5)]
        await database.write(runs.add, Cycle(NOW, "resync", 1, 0.5, {}, tuple(many)))
        [known] = (await database.read(runs.page)).items
        assert len(known.cycle.actions) == ACTIONS_KEPT_MAX
        assert sum(action.drift is not None for action in known.cycle.actions) == 5


async def test_retention_keeps_every_table_within_its_limits(database: Database) -> None:
    now = await database.read(dialects.db_now)
    old = now - timedelta(days=40)
    closed = stream(State.CLOSED, created_at=old, ended_at=old, closed_at=old)
    stranger = Action(
        Verb.HOLD, "k", "s", P1, 1, "held", Drift(DriftKind.ORPHAN_UNKNOWN, "k", "s", P1, 1, "nobody knows it"), "time"
    )
    await database.write(streams.save, [Change(Run(closed), is_new=True)], now=old)
    await database.write(floors.save, {(A, Key("k")): Floor(5, "b1")}, now=old)
    await database.write(processes.save, {(A, "b1"): Process(5, 1), (A, "b2"): Process(1, 2)}, now=old)
    await database.write(quarantine.add, [MessageRefused("t", b"", 0, "r")], now=old)
    await database.write(runs.add, Cycle(old, "resync", 1, 0.5))
    await database.write(drift.sync, [stranger], now=old)
    await database.write(drift.sync, [], now=old)
    limits = {"age": timedelta(days=10), "rows_max": 100, "limit": 100}
    assert await database.write(retention.prune, **limits) == 6
    assert await database.write(retention.prune, **limits) == 0
