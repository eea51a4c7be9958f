from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import bindparam, insert, select, update

from controller.domain.model import State
from controller.errors import DatabaseError
from controller.store import bulk
from controller.store.tables import floors, transitions

AT = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))

INSERT_FLOORS = insert(floors)
INSERT_TRANSITIONS = insert(transitions)
RAISE = update(floors).where(floors.c.key == bindparam("of")).values(epoch=bindparam("to"))


def floor(key, **changed):
    return {"source_id": "s", "key": key, "epoch": 1, "boot_id": "b", "at": AT} | changed


def read(session):
    return session.execute(select(floors).order_by(floors.c.key)).all()


async def test_every_row_is_written_as_the_columns_say_whatever_the_order_of_its_values(database):
    def work(session):
        shuffled = dict(reversed(floor("b").items()))
        return bulk.execute(session, INSERT_FLOORS, [floor("a\0", boot_id="\ud800"), shuffled])

    assert await database.write(work) == 2
    first, second = await database.read(read)
    assert first == ("s", "a\ufffd", 1, "?", datetime(2026, 5, 1, 10, 0, 0, 1, tzinfo=UTC))
    assert second == ("s", "b", 1, "b", AT)


async def test_an_update_takes_the_values_that_it_names_and_counts_the_rows_that_it_finds(database):
    def work(session):
        bulk.execute(session, INSERT_FLOORS, [floor("a"), floor("b")])
        return bulk.execute(session, RAISE, [{"of": key, "to": 7, "boot_id": "not asked for"} for key in ("b", "c")])

    assert await database.write(work) == 1
    assert [(row.key, row.epoch, row.boot_id) for row in await database.read(read)] == [("a", 1, "b"), ("b", 7, "b")]


async def test_numbers_that_the_database_gives_out_and_columns_that_are_left_out_stay_its_business(database):
    entry = {
        "stream_id": "x", "key": "k", "epoch": 1, "at": AT, "event": "announced", "to_state": State.PENDING,
        "detail": "", "actor": "", "cause": "",
    }  # fmt: skip

    def work(session):
        bulk.execute(session, INSERT_TRANSITIONS, [entry])
        return session.execute(select(transitions.c.id, transitions.c.to_state, transitions.c.reason)).all()

    assert await database.write(work) == [(1, "PENDING", None)]


async def test_no_rows_are_no_statement(database):
    assert await database.write(bulk.execute, INSERT_FLOORS, []) == 0


async def test_what_the_database_refuses_is_an_error_of_ours_and_nothing_is_kept(database):
    with pytest.raises(DatabaseError):
        await database.write(bulk.execute, INSERT_FLOORS, [floor("a"), floor("b", epoch=None)])
    assert await database.read(read) == []
