"""What is remembered is what the database says, whoever changed it."""

from dataclasses import replace

import pytest
from sqlalchemy import event, text, update

from controller.domain.lifecycle import Draft
from controller.domain.model import Cause, Change, Key, PlacementState, Run, State, StreamId, StreamSpec, Upstream
from controller.store import rows, streams, tables
from controller.store.engine import Database
from controller.store.recollection import TURNS, Recollection
from tests.fakes.domain_values import NOW, P2, later, placement, run, view

NUMBERS = range(5)


def stream_run(number: int) -> Run:
    stream_id = StreamId(f"s{number}")
    return run(State.LIVE, placement(stream_id=stream_id), id=stream_id, key=Key(f"k{number}"))


@pytest.fixture
async def database(database: Database) -> Database:
    runs = [stream_run(number) for number in NUMBERS]
    await database.write(streams.save, [Change(r, is_new=True, placements=r.placements) for r in runs], now=NOW)
    return database


async def recollected(database: Database, recollection: Recollection) -> dict[StreamId, Run]:
    """What is recollected, after comparing it with what the database says."""
    unfinished = await database.read(recollection.read)
    found = {r.stream.id: r for r in unfinished.runs}
    assert unfinished.ids == found.keys()
    desired = await database.read(streams.desired)
    assert found == {r.stream.id: r for r in desired.runs}
    return found


async def save(database: Database, stream_id: StreamId, change) -> None:
    found = (await database.read(streams.load_runs, [stream_id]))[stream_id]
    draft = Draft(found, Cause("operator:test", "test"), later(1))
    change(draft)
    await database.write(streams.save, [draft.change()], now=later(1))


async def test_what_has_not_changed_is_the_very_same_value(database: Database) -> None:
    recollection = Recollection()
    first = await recollected(database, recollection)
    again = await recollected(database, recollection)
    assert len(first) == len(NUMBERS)
    assert all(again[i] is first[i] for i in first)


async def test_only_what_was_saved_is_read_again(database: Database) -> None:
    recollection = Recollection()
    first = await recollected(database, recollection)
    await save(database, StreamId("s2"), lambda draft: draft.set_seq(99))
    await save(database, StreamId("s3"), lambda draft: draft.mark_stopping(1))
    again = await recollected(database, recollection)
    assert {i for i in first if again[i] is not first[i]} == {"s2", "s3"}
    assert again[StreamId("s2")].stream.seq == 99
    assert again[StreamId("s3")].placements[0].state is PlacementState.STOPPING


async def test_new_runs_come_and_closed_ones_go(database: Database) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    new = stream_run(9)
    await database.write(streams.save, [Change(new, is_new=True, placements=new.placements)], now=NOW)
    closed = replace(
        (await database.read(streams.load_runs, [StreamId("s1")]))[StreamId("s1")].stream,
        state=State.CLOSED, ended_at=NOW, closed_at=NOW, reason="source_ended", outcome="completed",
    )  # fmt: skip
    gone = placement(PlacementState.GONE, stream_id=StreamId("s1"), gone_at=NOW)
    await database.write(streams.save, [Change(Run(closed), placements=(gone,))], now=NOW)
    assert set(await recollected(database, recollection)) == {"s0", "s2", "s3", "s4", "s9"}


BY_HAND = {
    "a state": "UPDATE streams SET state = 'STARTING' WHERE id = 's1'",
    "a generation": "UPDATE streams SET generation = 7 WHERE id = 's1'",
    "a placement's state": "UPDATE placements SET state = 'stopping' WHERE stream_id = 's1'",
    "a placement's proxy": "UPDATE placements SET proxy_id = 'p9' WHERE stream_id = 's1'",
    "a placement away": "DELETE FROM placements WHERE stream_id = 's1'",
    "a stream away": "DELETE FROM streams WHERE id = 's1'",
    "a state that leaves a placement": "UPDATE streams SET state = 'CLOSED', reason = 'expired',"
    " outcome = 'completed', ended_at = created_at, closed_at = created_at WHERE id = 's1'",
}


@pytest.mark.parametrize("statement", BY_HAND.values(), ids=BY_HAND)
async def test_what_people_change_by_hand_is_seen_at_once(database: Database, statement: str) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    await database.write(lambda session: session.execute(text(statement)) and None)
    await recollected(database, recollection)


AFTER_CLOSING = {
    "nothing": "SELECT 1",
    "its placement away": "DELETE FROM placements WHERE stream_id = 's1'",
    "its version": "UPDATE streams SET version = 99 WHERE id = 's1'",
    "all others away": "DELETE FROM streams WHERE id <> 's1'",
}


@pytest.mark.parametrize("statement", AFTER_CLOSING.values(), ids=AFTER_CLOSING)
async def test_a_closed_stream_with_a_placement_is_watched_as_long_as_it_has_one(
    database: Database, statement: str
) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    for change in (BY_HAND["a state that leaves a placement"], statement):
        await database.write(lambda session, change=change: session.execute(text(change)) and None)
        await recollected(database, recollection)
        await recollected(database, recollection)


ELSEWHERE = {
    "a spec": update(tables.streams).values(spec=rows.spec_values(StreamSpec((Upstream("http://other/a.ts"),)))),
    "a label": update(tables.streams).values(labels={"site": "hall"}),
    "a detail": update(tables.streams).values(reason_detail="x"),
    "something where there was nothing": update(tables.streams).values(expires_at=NOW),
    "a placement's boot": update(tables.placements).values(boot_id="other"),
    "nothing where there was something": update(tables.placements).values(observed_at=None),
}


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_whatever_people_change_by_hand_is_seen_within_six_readings(database: Database, case: str) -> None:
    """And what they did not touch stays the very same value."""
    recollection = Recollection()
    first = await recollected(database, recollection)
    change = ELSEWHERE[case]
    identity = change.table.c.id if change.table is tables.streams else change.table.c.stream_id
    await database.write(lambda session: session.execute(change.where(identity == "s1")) and None)
    for _ in range(TURNS):
        await database.read(recollection.read)
    again = await recollected(database, recollection)
    assert {i for i in first if again[i] is not first[i]} == {"s1"}


async def test_what_was_saved_is_read_once(database: Database) -> None:
    """Its part differs in its next turn as well; that is not a change that was missed."""
    recollection = Recollection()
    await recollected(database, recollection)
    await save(database, StreamId("s2"), lambda draft: draft.set_seq(99))
    saved = await recollected(database, recollection)
    for _ in range(TURNS):
        again = await recollected(database, recollection)
    assert again == saved


async def test_a_quiet_reading_fetches_no_run(database: Database) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    asked: list[str] = []
    event.listen(database._reader, "before_cursor_execute", lambda *given: asked.append(given[2]))
    for _ in range(TURNS):
        await database.read(recollection.read)
    selected = [statement for statement in asked if statement.startswith("SELECT")]
    assert len(selected) >= 3 * TURNS
    assert all("GROUP BY" in statement for statement in selected)


async def test_a_closed_run_is_known_while_a_placement_of_it_is_not_gone(database: Database) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    close = (
        "UPDATE streams SET state = 'CLOSED', closed_at = created_at, ended_at = created_at, reason = 'source_ended'"
    )
    await database.write(lambda session: session.execute(text(close + " WHERE id = 's1'")) and None)
    assert (await recollected(database, recollection))[StreamId("s1")].stream.state is State.CLOSED
    await database.write(
        lambda session: session.execute(text("UPDATE streams SET version = 77 WHERE id = 's1'")) and None
    )
    assert (await recollected(database, recollection))[StreamId("s1")].stream.version == 77
    await database.write(
        lambda session: session.execute(text("DELETE FROM placements WHERE stream_id = 's1'")) and None
    )
    assert StreamId("s1") not in await recollected(database, recollection)


def test_a_proxy_is_news_until_it_was_written_and_when_it_differs() -> None:
    recollection = Recollection()
    first, other = view(sequence=1), view(proxy_id=P2)
    assert recollection.is_news(first)
    recollection.note_written([first])
    assert not recollection.is_news(replace(first, observed_at=later(60)))
    assert recollection.is_news(replace(first, sequence=2))
    assert recollection.is_news(other)
