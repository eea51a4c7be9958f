"""What is remembered is what the database says, whoever changed it."""

from dataclasses import replace

import pytest
from sqlalchemy import event, text

from controller.domain.lifecycle import Draft
from controller.domain.model import Cause, Change, Key, PlacementState, Run, State, StreamId
from controller.store import streams
from controller.store.engine import Database
from controller.store.recollection import ANEW_EVERY, Recollection
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
    found = {r.stream.id: r for r in await database.read(recollection.read)}
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
}


@pytest.mark.parametrize("statement", BY_HAND.values(), ids=BY_HAND)
async def test_what_people_change_by_hand_is_seen_at_once(database: Database, statement: str) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    await database.write(lambda session: session.execute(text(statement)) and None)
    await recollected(database, recollection)


async def test_everything_is_read_anew_once_in_a_while(database: Database) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    await database.write(
        lambda session: session.execute(text("UPDATE streams SET reason_detail = 'x' WHERE id = 's1'")) and None
    )
    for _ in range(ANEW_EVERY):
        found = {r.stream.id: r for r in await database.read(recollection.read)}
    assert found[StreamId("s1")].stream.reason_detail == "x"


async def test_a_quiet_reading_is_two_queries(database: Database) -> None:
    recollection = Recollection()
    await recollected(database, recollection)
    asked: list[str] = []
    event.listen(database._reader, "before_cursor_execute", lambda *given: asked.append(given[2]))
    await database.read(recollection.read)
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 2


def test_a_proxy_is_news_until_it_was_written_and_when_it_differs() -> None:
    recollection = Recollection()
    first, other = view(sequence=1), view(proxy_id=P2)
    assert recollection.is_news(first)
    recollection.note_written([first])
    assert not recollection.is_news(replace(first, observed_at=later(60)))
    assert recollection.is_news(replace(first, sequence=2))
    assert recollection.is_news(other)
