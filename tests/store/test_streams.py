from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from controller.domain.model import (
    Cause,
    Change,
    Command,
    CommandKind,
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    LoopRule,
    OnEof,
    Output,
    Placement,
    PlacementState,
    Prefer,
    Reason,
    Run,
    SourceId,
    State,
    Stream,
    StreamId,
    StreamSpec,
    Transition,
    Upstream,
)
from controller.errors import DatabaseError, InvalidError, StaleWriteError
from controller.store import outbox, streams, tables
from controller.store.engine import Database
from tests.fakes.domain_values import BOOT, NOW, P1, P2, SPEC, later, placement, run, stream

NUMBERS = count(1)


def new(value: Run, **parts: tuple[object, ...]) -> Change:
    return Change(value, is_new=True, placements=value.placements, **parts)


def changed(value: Run, *placements: Placement) -> Change:
    return Change(value, placements=placements)


def saved(value: Run) -> Run:
    """As it is read back: one version on, without what is gone."""
    kept = tuple(p for p in value.placements if p.state is not PlacementState.GONE)
    return Run(replace(value.stream, version=value.stream.version + 1), kept)


def named(number: int, **fields: object) -> Stream:
    return stream(fields.pop("state", State.PENDING), id=StreamId(f"s{number}"), key=Key(f"k{number}"), **fields)


# Round trips

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is added
counters = st.integers(0, 2**63 - 1)
pairs = st.dictionaries(names, names, max_size=3).map(lambda items: tuple(items.items()))
UPSTREAMS = st.builds(
    Upstream, names, st.lists(st.tuples(names, names), max_size=2).map(tuple), st.none() | st.integers(1, 1000)
)
specs = st.builds(
    StreamSpec,
    upstreams=st.lists(UPSTREAMS, min_size=1)
    .map(tuple),
    outputs=st.sampled_from([(Output.TS,), (Output.HLS,), (Output.TS, Output.HLS)]),
    on_demand=st.booleans(),
    on_eof=st.sampled_from(OnEof),
    viewers_max=st.none() | st.integers(1, 2**53 - 1),
    prefer=st.sampled_from(Prefer),
    return_after_seconds=st.floats(0.1, 1e6),
    loop=st.sampled_from(LoopRule),
)  # fmt: skip
conditions = st.lists(
    st.builds(
        Condition, st.sampled_from(ConditionType), st.sampled_from(ConditionStatus), names, names, times, counters
    ),
    max_size=3,
).map(tuple)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    number = next(NUMBERS)
    state = draw(st.sampled_from(State))
    reason = None if state.is_active else draw(st.sampled_from(Reason))
    value = Stream(
        id=StreamId(f"stream-{number}"),
        key=Key(f"key-{number}"),
        source_id=SourceId(draw(names)),
        epoch=draw(counters),
        announced_epoch=draw(st.none() | counters),
        seq=draw(counters),
        source_boot_id=draw(names | st.just("")),
        state=state,
        spec=draw(specs),
        created_at=draw(times),
        state_since=draw(times),
        spec_generation=draw(st.integers(1, 2**31 - 1)),
        generation=draw(counters),
        labels=draw(pairs),
        stall_timeout_seconds=draw(st.none() | st.floats(0, 1e6)),
        expires_at=draw(st.none() | times),
        reason=reason,
        reason_detail=draw(names | st.just("")),
        outcome=reason.outcome if reason else None,
        conditions=draw(conditions),
        births_missed=draw(st.integers(0, 9)),
        failures=draw(st.integers(0, 9)),
        retry_at=draw(st.none() | times),
        ended_at=None if state.is_active else draw(times),
        closed_at=draw(times) if state is State.CLOSED else None,
    )
    return Run(value, tuple(draw(placements_of(value.id, n)) for n in range(draw(st.integers(0, 3)))))


@st.composite
def placements_of(draw: st.DrawFn, stream_id: StreamId, generation: int) -> Placement:
    state = draw(st.sampled_from(PlacementState))
    return Placement(
        stream_id=stream_id,
        generation=generation,
        proxy_id=P1,
        boot_id=BOOT,
        spec_generation=draw(st.integers(1, 9)),
        state=state,
        requested_at=draw(times),
        observed_at=draw(st.none() | times),
        stopping_at=draw(st.none() | times),
        gone_at=draw(times) if state is PlacementState.GONE else None,
        reply_sequence=draw(st.none() | counters),
        stop_replied=draw(st.booleans()),
    )


anything = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anything
@given(value=runs())
async def test_what_is_saved_is_read_back(database: Database, value: Run) -> None:
    await database.write(streams.save, [new(value)], now=NOW)
    assert await database.read(streams.load_runs, [value.stream.id]) == {value.stream.id: saved(value)}


@anything
@given(before=runs(), after=runs())
async def test_what_is_changed_is_read_back(database: Database, before: Run, after: Run) -> None:
    await database.write(streams.save, [new(before)], now=NOW)
    kept = {field: getattr(before.stream, field) for field in ("id", "key", "source_id", "epoch", "created_at")}
    there = {p.generation: p for p in before.placements}
    placements = tuple(replace(p, stream_id=before.stream.id) for p in after.placements)
    next_run = Run(replace(after.stream, **kept, version=1), placements)
    await database.write(streams.save, [changed(next_run, *placements)], now=NOW)
    expected = there | {p.generation: p for p in placements}
    assert await database.read(streams.find, before.stream.id) == saved(Run(next_run.stream, tuple(expected.values())))


async def test_everything_of_a_change_is_written(database: Database) -> None:
    value = run(State.STARTING, placement(PlacementState.REQUESTED))
    moved = Transition(
        value.stream.id, value.stream.key, 1, NOW, "announced", None, State.PENDING, None, "", Cause("source:s", "t")
    )
    command = Command(CommandKind.ENSURE, P1, BOOT, value.stream.id, value.stream.key, 1, 1, SPEC, "because")
    await database.write(streams.save, [new(value, transitions=(moved,), commands=(command,))], now=NOW)
    assert [p.command for p in await database.read(outbox.due, NOW, 10)] == [command]
    assert await database.read(_count_transitions) == 1


def _count_transitions(session: Session) -> int:
    return session.execute(select(func.count()).select_from(tables.transitions)).scalar_one()


# Rules


async def test_a_stale_write_is_refused_and_leaves_nothing(database: Database) -> None:
    first, second = Run(named(1)), Run(named(2))
    await database.write(streams.save, [new(first), new(second)], now=NOW)
    one, two = saved(first), saved(second)
    await database.write(streams.save, [changed(two)], now=NOW)
    with pytest.raises(StaleWriteError) as refused:
        await database.write(
            streams.save,
            [changed(Run(replace(one.stream, seq=9))), changed(Run(replace(two.stream, seq=9))), new(Run(named(3)))],
            now=NOW,
        )
    assert (refused.value.stream_id, refused.value.version) == ("s2", 1)
    kept = await database.read(streams.load_runs, [StreamId("s1"), StreamId("s2"), StreamId("s3")])
    assert {i: (r.stream.version, r.stream.seq) for i, r in kept.items()} == {"s1": (1, 1), "s2": (2, 1)}


async def test_saving_a_run_that_was_deleted_is_stale(database: Database) -> None:
    with pytest.raises(StaleWriteError):
        await database.write(streams.save, [changed(Run(named(1, version=4)))], now=NOW)


async def test_versions(database: Database) -> None:
    await database.write(streams.save, [new(Run(named(1))), new(Run(named(2)))], now=NOW)
    await database.write(streams.save, [changed(saved(Run(named(2))))], now=NOW)
    found = await database.read(streams.versions, [StreamId("s1"), StreamId("s2"), StreamId("s3")])
    assert found == {"s1": 1, "s2": 2}


async def test_a_key_has_one_run_that_has_not_ended(database: Database) -> None:
    await database.write(streams.save, [new(run(State.LIVE))], now=NOW)
    with pytest.raises(DatabaseError):
        await database.write(streams.save, [new(run(State.PENDING, id=StreamId("other"), epoch=2))], now=NOW)


async def test_an_epoch_of_a_key_is_used_once(database: Database) -> None:
    await database.write(streams.save, [new(run(State.CLOSED))], now=NOW)
    with pytest.raises(DatabaseError):
        await database.write(streams.save, [new(run(State.PENDING, id=StreamId("other")))], now=NOW)


async def test_a_run_is_superseded_in_one_call(database: Database) -> None:
    await database.write(streams.save, [new(run(State.LIVE))], now=NOW)
    old = Run(stream(State.ENDED, version=1, reason=Reason.SUPERSEDED))
    successor = run(State.PENDING, id=StreamId("next"), epoch=2)
    await database.write(streams.save, [changed(old), new(successor)], now=NOW)
    assert await database.read(streams.find, "cam-7") == saved(successor)


@pytest.mark.parametrize(
    "broken",
    [
        stream(State.ENDED, ended_at=None),
        stream(State.LIVE, ended_at=NOW),
        stream(State.ENDED, closed_at=NOW),
    ],
    ids=["an end without a time", "a time of an end without an end", "a closing without CLOSED"],
)
async def test_the_schema_refuses_what_contradicts_itself(database: Database, broken: Stream) -> None:
    with pytest.raises(DatabaseError):
        await database.write(streams.save, [new(Run(broken))], now=NOW)


# Loading


async def test_load_latest_is_the_newest_epoch_whatever_its_state(database: Database) -> None:
    old = run(State.CLOSED, id=StreamId("old"), epoch=1)
    newest = run(State.CLOSED, id=StreamId("new"), epoch=2)
    other = Run(named(5), ())
    await database.write(streams.save, [new(r) for r in (newest, old, other)], now=NOW)
    found = await database.read(streams.load_latest, [Key("cam-7"), Key("k5"), Key("nobody")])
    assert found == {"cam-7": saved(newest), "k5": saved(other)}


async def test_load_by_source_leaves_out_what_has_ended(database: Database) -> None:
    mine = {"source_id": SourceId("a")}
    values = [
        Run(named(1, state=State.LIVE, **mine)),
        Run(named(2, state=State.STALLED, **mine)),
        Run(named(3, state=State.ENDED, **mine)),
        Run(named(4, state=State.CLOSED, **mine)),
        Run(named(5, state=State.LIVE, source_id=SourceId("b"))),
    ]
    await database.write(streams.save, [new(value) for value in values], now=NOW)
    assert set(await database.read(streams.load_by_source, [SourceId("a")])) == {"s1", "s2"}


async def test_nothing_asked_is_nothing_found(database: Database) -> None:
    assert await database.read(streams.load_runs, []) == {}
    assert await database.read(streams.load_latest, []) == {}
    assert await database.read(streams.load_by_source, []) == {}


async def test_more_than_one_statement_can_name(database: Database) -> None:
    values = [Run(named(number)) for number in range(1, 1002)]
    await database.write(streams.save, [new(value) for value in values], now=NOW)
    assert len(await database.read(streams.load_latest, [value.stream.key for value in values])) == 1001
    assert len(await database.read(streams.load_runs, [value.stream.id for value in values])) == 1001


@pytest.mark.parametrize("name", ["cam-7", "stream-1"], ids=["by key", "by id"])
async def test_find(database: Database, name: str) -> None:
    await database.write(streams.save, [new(run(State.LIVE, placement()))], now=NOW)
    assert await database.read(streams.find, name) == saved(run(State.LIVE, placement()))
    assert await database.read(streams.find, "nobody") is None


# Desired


class TestDesired:
    @pytest.fixture(autouse=True)
    async def _rows(self, database: Database) -> None:
        gone = placement(PlacementState.GONE, stream_id=StreamId("s5"), gone_at=NOW)
        stopping = placement(PlacementState.STOPPING, stream_id=StreamId("s3"))
        left = placement(PlacementState.STOPPING, stream_id=StreamId("s4"), proxy_id=P2)
        stop = Command(CommandKind.STOP, P1, BOOT, StreamId("s3"), Key("k3"), 1, 1)
        values = [
            new(Run(named(1))),
            new(Run(named(2, state=State.LIVE), (placement(stream_id=StreamId("s2")),))),
            new(Run(named(3, state=State.ENDED), (stopping,)), commands=(stop,)),
            new(Run(named(4, state=State.CLOSED), (left,))),
            new(Run(named(5, state=State.CLOSED), (gone,))),
        ]
        await database.write(streams.save, values, now=NOW)

    async def test_all_that_is_not_over(self, database: Database) -> None:
        found = await database.read(streams.desired)
        assert [(r.stream.id, len(r.placements)) for r in sorted(found.runs, key=lambda r: r.stream.id)] == [
            ("s1", 0),
            ("s2", 1),
            ("s3", 1),
            ("s4", 1),
        ]
        assert found.pending == {("s3", 1, P1)}
        assert (found.closed, found.drifts, found.keys) == ({}, {}, None)

    async def test_closed_runs_of_sessions_that_were_seen(self, database: Database) -> None:
        found = await database.read(streams.desired, [StreamId("s5"), StreamId("s1"), StreamId("s4"), StreamId("x")])
        assert set(found.closed) == {"s5"}
        assert found.closed[StreamId("s5")].state is State.CLOSED

    async def test_limited_to_keys(self, database: Database) -> None:
        found = await database.read(streams.desired, [StreamId("s1")], [Key("k2"), Key("k5")])
        assert [r.stream.id for r in found.runs] == ["s2"]
        assert (found.pending, found.keys, dict(found.closed)) == (frozenset(), {"k2", "k5"}, {})


# Pages


class TestPage:
    @pytest.fixture(autouse=True)
    async def _rows(self, database: Database) -> None:
        states = [State.PENDING, State.LIVE, State.ENDED, State.CLOSED, State.LIVE]
        values = [
            # Two of them at the very same time.
            Run(
                named(
                    n, state=state, created_at=later(n // 2), labels=(("site", "a" if n % 2 else "b"), ('od"d.', "x"))
                )
            )
            for n, state in enumerate(states, 1)
        ]
        await database.write(streams.save, [new(value) for value in values], now=NOW)

    async def test_newest_first_without_the_closed(self, database: Database) -> None:
        found = await database.read(streams.page)
        assert [r.stream.id for r in found.items] == ["s5", "s3", "s2", "s1"]
        assert found.next_cursor is None

    @pytest.mark.parametrize("limit", [1, 2, 3, 5])
    async def test_pages_miss_nothing_and_repeat_nothing(self, database: Database, limit: int) -> None:
        seen: list[str] = []
        cursor: str | None = None
        while True:
            found = await database.read(streams.page, states=list(State), cursor=cursor, limit=limit)
            assert len(found.items) <= limit
            seen += [r.stream.id for r in found.items]
            cursor = found.next_cursor
            if cursor is None:
                break
        assert seen == ["s5", "s4", "s3", "s2", "s1"]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"states": [State.LIVE]}, ["s5", "s2"]),
            ({"key": "k4"}, ["s4"]),
            ({"labels": {"site": "a"}}, ["s5", "s3", "s1"]),
            ({"labels": {'od"d.': "x"}, "states": [State.ENDED]}, ["s3"]),
            ({"labels": {"site": "a", "nope": "x"}}, []),
        ],
        ids=["by state", "by key, closed too", "by label", "by a label with odd characters", "by a label nobody has"],
    )
    async def test_filters(self, database: Database, asked: dict[str, object], expected: list[str]) -> None:
        found = await database.read(streams.page, **asked)
        assert [r.stream.id for r in found.items] == expected

    @pytest.mark.parametrize("cursor", ["", "x", "!!", "W10", "eyJhIjoxfQ", "bnVsbA"])
    async def test_a_cursor_of_somebody_else_s(self, database: Database, cursor: str) -> None:
        with pytest.raises(InvalidError):
            await database.read(streams.page, cursor=cursor)

    async def test_counts(self, database: Database) -> None:
        assert await database.read(streams.count_by_state) == {
            State.PENDING: 1,
            State.STARTING: 0,
            State.LIVE: 2,
            State.STALLED: 0,
            State.ENDED: 1,
        }


async def test_pruning_keeps_the_last_run_of_a_key_longer(database: Database) -> None:
    def closed(key: str, epoch: int, at: datetime) -> Change:
        name = StreamId(f"{key}-{epoch}")
        gone = placement(PlacementState.GONE, stream_id=name, gone_at=at)
        return new(Run(stream(State.CLOSED, id=name, key=Key(key), epoch=epoch, closed_at=at), (gone,)))

    values = [
        closed("a", 1, later(0)),
        closed("a", 2, later(1)),
        closed("a", 3, later(100)),
        closed("b", 1, later(0)),
        closed("c", 1, later(50)),
        new(Run(named(1))),
    ]
    await database.write(streams.save, values, now=NOW)
    ages = {"closed_before": later(60), "forgotten_before": later(10)}
    assert await database.write(streams.prune, **ages, limit=1) == 1
    assert await database.write(streams.prune, **ages) == 2
    assert await database.write(streams.prune, **ages) == 0
    left = await database.read(streams.page, states=list(State))
    assert {r.stream.id for r in left.items} == {"a-3", "c-1", "s1"}


@contextmanager
def counted_statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(database._writer, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database._writer, "before_cursor_execute", note)


async def test_saving_many_is_a_handful_of_statements(database: Database) -> None:
    values = [Run(named(n), (placement(PlacementState.REQUESTED, stream_id=StreamId(f"s{n}")),)) for n in range(1, 501)]
    with counted_statements(database) as seen:
        await database.write(streams.save, [new(value) for value in values], now=NOW)
        await database.write(streams.save, [changed(saved(value), *value.placements) for value in values], now=NOW)
    assert len(seen) <= 8
