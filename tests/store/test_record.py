from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from sqlalchemy import event

from controller.domain.events import (
    BirthReported,
    Incoming,
    MessageRefused,
    Order,
    SourceReported,
    StatsReported,
    StopRequested,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.mass_end import MassEnd
from controller.domain.model import CommandKind, ConditionType, Floor, Key, Reason, SourceId, State, StreamId
from controller.domain.verdicts import Verdict
from controller.errors import DatabaseError
from controller.store import floors, history, outbox, plans, quarantine, record, sources, stats, streams
from controller.store.engine import Database
from controller.store.record import Recorded
from tests.fakes.domain_values import CAUSE, KEY, NOW, OTHER_SPEC, SOURCE, SPEC, later, placement, run


class Ids:
    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self) -> StreamId:
        return StreamId(f"id-{next(self._numbers)}")


def announced(key: str = KEY, epoch: int = 1, seq: int = 1, **fields: object) -> StreamAnnounced:
    given = {"source_id": SOURCE, "spec": SPEC, "order": Order(epoch, seq), "boot_id": "b1", **fields}
    return StreamAnnounced(key=Key(key), cause=CAUSE, **given)


def ended(key: str = KEY, epoch: int = 1, seq: int = 2) -> StreamEndAnnounced:
    return StreamEndAnnounced(SOURCE, Key(key), CAUSE, Order(epoch, seq), "b1")


@pytest.fixture
def new_id() -> Ids:
    return Ids()


async def take(database: Database, new_id: Ids, *events: Incoming, seconds: float = 0) -> Recorded:
    return await database.write(record.record, events, now=later(seconds), new_id=new_id)


async def test_a_stream_begins_and_ends(database: Database, new_id: Ids) -> None:
    started = await take(database, new_id, announced())
    assert started == Recorded((Verdict.STARTED,), frozenset({"id-1"}), frozenset({KEY}), False, frozenset())
    stopped = await take(database, new_id, ended(), seconds=5)
    assert stopped.verdicts == (Verdict.ENDED,)
    found = await database.read(streams.find, KEY)
    assert found is not None
    assert (found.stream.state, found.stream.reason) == (State.CLOSED, Reason.SOURCE_ENDED)
    told = await database.read(history.follow)
    assert [entry.transition.event for entry in told] == ["announced", "end", "all_gone"]


async def test_the_end_writes_a_stop_for_every_placement_in_the_same_transaction(
    database: Database, new_id: Ids
) -> None:
    await take(database, new_id, announced())
    begun = await database.read(streams.find, KEY)
    assert begun is not None
    placed = placement(stream_id=begun.stream.id)
    await database.write(
        streams.save, [plans.Change(run(State.LIVE, placed, **_fields(begun.stream)), placements=(placed,))], now=NOW
    )
    stopped = await take(database, new_id, ended(seq=3))
    assert stopped.has_commands
    [pending] = await database.read(outbox.due, later(10), 10)
    assert (pending.command.kind, pending.command.generation) == (CommandKind.STOP, 1)


def _fields(stream: object) -> dict[str, object]:
    names = ("id", "version", "announced_epoch", "seq", "created_at")
    return {name: getattr(stream, name) for name in names}


async def test_a_batch_is_decided_in_its_order(database: Database, new_id: Ids) -> None:
    batch = [announced(), ended(), announced(epoch=2), announced(epoch=2, seq=2, spec=OTHER_SPEC), announced(epoch=1)]
    result = await take(database, new_id, *batch)
    assert result.verdicts == (
        Verdict.STARTED,
        Verdict.ENDED,
        Verdict.STARTED,
        Verdict.UPDATED,
        Verdict.ALREADY_ENDED,
    )
    found = await database.read(streams.find, KEY)
    assert found is not None
    assert (found.stream.epoch, found.stream.spec, found.stream.version) == (2, OTHER_SPEC, 1)


async def test_a_redelivered_batch_changes_nothing(database: Database, new_id: Ids) -> None:
    batch = [announced("a"), announced("b"), ended("b"), ended("early", epoch=4)]
    await take(database, new_id, *batch)
    before = await database.read(streams.page, states=list(State))
    again = await take(database, new_id, *batch, seconds=5)
    assert again.stream_ids == frozenset()
    assert await database.read(streams.page, states=list(State)) == before


async def test_an_early_end_leaves_a_floor_that_a_late_start_meets(database: Database, new_id: Ids) -> None:
    assert (await take(database, new_id, ended(epoch=7))).verdicts == (Verdict.EARLY_END,)
    assert await database.read(floors.load, [(SOURCE, KEY), (SOURCE, Key("x"))]) == {(SOURCE, KEY): Floor(7, "b1")}
    assert (await take(database, new_id, announced(epoch=7))).verdicts == (Verdict.ALREADY_ENDED,)
    assert (await take(database, new_id, announced(epoch=8))).verdicts == (Verdict.STARTED,)


async def test_a_will_stalls_the_streams_of_its_source_alone(database: Database, new_id: Ids) -> None:
    other = announced("other", source_id=SourceId("enc-2"))
    online = SourceReported(SOURCE, "b1", True, CAUSE)
    await take(database, new_id, online, announced("a"), announced("b"), other)
    will = SourceReported(SOURCE, "b1", False, CAUSE)
    result = await take(database, new_id, will, seconds=9)
    assert result.keys == {"a", "b"}
    known = (await database.read(sources.load, [SOURCE]))[SOURCE]
    assert (known.is_online, known.since, known.seen_at) == (False, later(9), later(9))


async def test_a_birth_tells_what_runs(database: Database, new_id: Ids) -> None:
    await take(database, new_id, announced("a"), announced("b"))
    for number in (1, 2):
        birth = BirthReported(SOURCE, "b1", (announced("a"), announced("c")), CAUSE, seq=number)
        await take(database, new_id, birth, seconds=number)
    found = {r.stream.key: r.stream for r in (await database.read(streams.page, states=list(State))).items}
    assert {key: stream.state.is_active for key, stream in found.items()} == {"a": True, "b": False, "c": True}
    assert found[Key("b")].reason is Reason.SOURCE_LOST
    known = (await database.read(sources.load, [SOURCE]))[SOURCE]
    assert (known.birth_boot_id, known.birth_seq, known.birth_at) == ("b1", 2, later(2))


async def test_births_of_a_dead_process_that_are_delivered_again_end_nothing(database: Database, new_id: Ids) -> None:
    dead = [BirthReported(SOURCE, "b1", (), CAUSE, seq=number) for number in (1, 2)]
    living = (SourceReported(SOURCE, "b2", True, CAUSE), BirthReported(SOURCE, "b2", (), CAUSE, seq=1))
    await take(database, new_id, SourceReported(SOURCE, "b1", True, CAUSE), *dead)
    await take(database, new_id, *living, announced("a", boot_id="b2"), seconds=1)
    again = await take(database, new_id, *dead, seconds=2)
    late = [BirthReported(SOURCE, "b1", (), CAUSE, seq=number) for number in (3, 4)]
    assert (again.verdicts, again.keys) == ((Verdict.STALE, Verdict.STALE), frozenset())
    assert (await take(database, new_id, *late, seconds=3)).keys == frozenset()
    found = await database.read(streams.find, Key("a"))
    assert found is not None
    assert (found.stream.state.is_active, found.stream.births_missed) == (True, 0)
    lacking = BirthReported(SOURCE, "b2", (), CAUSE, seq=2)
    assert (await take(database, new_id, lacking, seconds=4)).keys == {"a"}


async def test_an_operator_stops_one_run(database: Database, new_id: Ids) -> None:
    await take(database, new_id, announced("a"), announced("b"))
    result = await take(database, new_id, StopRequested(StreamId("id-1"), CAUSE), StopRequested(StreamId("x"), CAUSE))
    assert result.verdicts == (Verdict.ENDED, Verdict.UNKNOWN)
    assert [r.stream.key for r in (await database.read(streams.page)).items] == ["b"]


async def test_a_new_boot_below_the_known_epoch_is_asked_for_a_birth(database: Database, new_id: Ids) -> None:
    await take(database, new_id, announced(epoch=9))
    result = await take(database, new_id, announced(epoch=3, boot_id="b2"))
    assert (result.verdicts, result.rebirths) == ((Verdict.REGRESSED,), {SOURCE})


async def test_figures_are_kept(database: Database, new_id: Ids) -> None:
    figures = (("bitrate", 8e6), ("peers", 3.0), ("odd", float("nan")))
    await take(database, new_id, announced(), StatsReported(SOURCE, KEY, figures))
    found = (await database.read(stats.newest, [StreamId("id-1")]))[StreamId("id-1")]
    assert (found.at, dict(found.figures)) == (NOW, {"bitrate": 8e6, "peers": 3.0})


async def test_what_cannot_be_read_goes_to_quarantine_with_the_rest_of_the_batch(
    database: Database, new_id: Ids
) -> None:
    bad = MessageRefused("penstock/v1/\udcff\0", b"\0\xff{", 3, "no JSON \0")
    result = await take(database, new_id, announced(), bad)
    assert result.verdicts == (Verdict.STARTED, Verdict.REFUSED)
    [kept] = (await database.read(quarantine.page)).items
    assert (kept.at, kept.message) == (NOW, MessageRefused("penstock/v1/?\ufffd", b"\0\xff{", 3, "no JSON \ufffd"))


async def test_strange_text_stops_no_batch_and_no_query(database: Database, new_id: Ids) -> None:
    odd = announced("odd", labels=(("na\0me", "va\ud800lue"), ("plain", "x")), boot_id="bo\0ot")
    result = await take(database, new_id, odd, announced("even"))
    assert result.verdicts == (Verdict.STARTED, Verdict.STARTED)
    found = await database.read(streams.page, labels={"plain": "x"})
    assert [dict(r.stream.labels) for r in found.items] == [{"na\ufffdme": "va?lue", "plain": "x"}]


async def test_a_number_that_no_column_holds_is_a_database_error(database: Database, new_id: Ids) -> None:
    with pytest.raises(DatabaseError):
        await take(database, new_id, announced(epoch=2**63))
    assert (await database.read(streams.page)).items == ()


async def test_a_crash_before_the_commit_leaves_nothing(url: str, new_id: Ids) -> None:
    def crash(name: str) -> None:
        if name == "commit.before":
            raise ZeroDivisionError

    database = Database(url, failpoint=crash)
    bad = MessageRefused("t", b"", 0, "r")
    with pytest.raises(ZeroDivisionError):
        await take(database, new_id, announced(), ended("early"), SourceReported(SOURCE, "b1", True, CAUSE), bad)
    assert (await database.read(streams.page, states=list(State))).items == ()
    assert await database.read(floors.load, [(SOURCE, Key("early"))]) == {}
    assert await database.read(sources.load_all) == ()
    assert await database.read(history.last_id) == 0
    assert await database.read(quarantine.count) == 0
    await database.dispose()


async def test_recording_at_the_database_s_time(database: Database, new_id: Ids) -> None:
    result = await database.write(record.record_now, [announced()], new_id=new_id)
    assert result.verdicts == (Verdict.STARTED,)


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


@pytest.mark.parametrize("size", [50, 500])
async def test_a_batch_is_a_handful_of_statements(database: Database, new_id: Ids, size: int) -> None:
    await take(database, new_id, *(announced(f"key-{n}") for n in range(size // 2)))
    events: list[Incoming] = []
    for n in range(size // 4):
        events += [
            announced(f"new-{n}"),
            ended(f"key-{n}"),
            StatsReported(SOURCE, Key(f"key-{size // 4 + n}"), (("bitrate", 1.0),)),
            MessageRefused("t", b"x", 1, "r"),
        ]
    with counted_statements(database) as seen:
        result = await take(database, new_id, *events)
    assert len(result.verdicts) == len(events)
    assert Verdict.STALE not in result.verdicts
    # A turn, four readings (some in two portions), six writings.
    assert len(seen) <= 16


class TestMassEnd:
    RULE = MassEnd(ends_min=4, share=0.8)

    async def test_ends_of_the_second_before_count(self, database: Database, new_id: Ids) -> None:
        keys = [f"k{n}" for n in range(8)]
        await take(database, new_id, *(announced(key) for key in keys))

        async def end(*names: str, at: float) -> set[Verdict]:
            said = [ended(name) for name in names]
            found = await database.write(record.record, said, now=later(at), new_id=new_id, mass_end=self.RULE)
            return set(found.verdicts)

        assert await end("k0", "k1", at=10) == {Verdict.ENDED}
        assert await end("k2", "k3", at=10.5) == {Verdict.HELD}
        assert await end("k4", at=10.9) == {Verdict.HELD}
        assert await end("k5", at=12) == {Verdict.ENDED}, "another second"
        held = await database.read(streams.find, "k2")
        assert held.stream.state is State.PENDING
        assert held.stream.condition(ConditionType.END_HELD).reason == "SourceEnded"
        told = await database.read(history.follow, stream_id=held.stream.id)
        assert [entry.transition.event for entry in told] == ["announced", "end_held"]

    async def test_without_a_rule_nothing_is_held(self, database: Database, new_id: Ids) -> None:
        keys = [f"k{n}" for n in range(8)]
        await take(database, new_id, *(announced(key) for key in keys))
        assert set((await take(database, new_id, *(ended(key) for key in keys), seconds=9)).verdicts) == {Verdict.ENDED}
