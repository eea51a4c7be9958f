from datetime import timedelta

import structlog
from sqlalchemy import func, select

from controller.reconcile import housekeeping
from controller.reconcile.housekeeping import Housekeeper, Retention
from controller.store import tables
from controller.store.engine import Database
from tests.fakes.control_room import ControlRoom
from tests.fakes.mqtt import until


async def moves(database: Database) -> int:
    def count(session) -> int:
        return session.execute(select(func.count()).select_from(tables.transitions)).scalar_one()

    return await database.read(count)


async def fill(room: ControlRoom, streams: int) -> None:
    for number in range(streams):
        await room.announce(f"cam-{number}")
        await room.end(f"cam-{number}")


async def test_it_deletes_step_by_step_down_to_the_limit(room: ControlRoom, monkeypatch):
    monkeypatch.setattr(housekeeping, "STEP_ROWS", 3)
    monkeypatch.setattr(housekeeping, "STEP_PAUSE_SECONDS", 0.0)
    await fill(room, 10)
    before = await moves(room.database)
    keeper = Housekeeper(room.database, Retention(timedelta(days=1), rows_max=5))
    assert await keeper.prune() == before - 5
    assert await moves(room.database) == 5
    assert await keeper.prune() == 0


async def test_what_is_within_the_limits_stays(room: ControlRoom):
    await fill(room, 3)
    before = await moves(room.database)
    assert await Housekeeper(room.database, Retention(timedelta(days=1), rows_max=1000)).prune() == 0
    assert await moves(room.database) == before


async def test_what_is_too_old_goes_whatever_its_number(room: ControlRoom):
    await fill(room, 3)
    await Housekeeper(room.database, Retention(timedelta(microseconds=-(10**9)), rows_max=1000)).prune()
    assert await moves(room.database) == 0


async def test_it_goes_on_by_itself_and_survives_a_database_that_fails(room: ControlRoom):
    closed = Database("sqlite://")
    await closed.dispose()
    keeper = Housekeeper(closed, Retention(timedelta(days=1), rows_max=5, interval_seconds=0.01))
    await fill(room, 10)
    with structlog.testing.capture_logs() as lines:
        async with room.running(keeper.run):
            await until(lambda: len(lines) >= 2, "it failed, twice")
            keeper._database = room.database
            await until(lambda: lines[-1]["event"] == "history.pruned", "it works again")
    assert {line["event"] for line in lines} == {"history.prune_failed", "history.pruned"}
    assert await moves(room.database) == 5
