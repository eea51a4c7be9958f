import asyncio
from itertools import pairwise

from controller.domain.model import Cause, Change, Key, Reason, Run, State, StreamId, Transition
from controller.store import history, streams
from controller.store.engine import Database
from tests.fakes.domain_values import NOW, later, stream


def moved(name: str, number: int = 0) -> Transition:
    return Transition(
        StreamId(name),
        Key(f"key-{name}"),
        3,
        later(number),
        "end",
        State.LIVE,
        State.ENDED,
        Reason.SOURCE_ENDED,
        f"number {number}",
        Cause("source:enc", "a topic"),
    )


async def write(database: Database, name: str, *transitions: Transition) -> None:
    value = Run(stream(State.PENDING, id=StreamId(name), key=Key(f"key-{name}")))
    await database.write(streams.save, [Change(value, is_new=True, transitions=transitions)], now=NOW)


async def test_what_happened_is_followed_in_order(database: Database) -> None:
    assert await database.read(history.last_id) == 0
    await write(database, "a", moved("a", 1), moved("a", 2))
    after = await database.read(history.last_id)
    await write(database, "b", moved("b", 3))
    everything = await database.read(history.follow)
    assert [entry.transition for entry in everything] == [moved("a", 1), moved("a", 2), moved("b", 3)]
    assert [e.transition for e in await database.read(history.follow, after_id=after)] == [moved("b", 3)]
    assert [e.transition.detail for e in await database.read(history.follow, limit=1)] == ["number 1"]
    one = await database.read(history.follow, stream_id=StreamId("b"))
    assert [entry.transition.stream_id for entry in one] == ["b"]


async def test_pages_come_newest_first(database: Database) -> None:
    await write(database, "a", *(moved("a", n) for n in range(5)))
    first = await database.read(history.page, limit=2)
    second = await database.read(history.page, limit=2, cursor=first.next_cursor, stream_id=StreamId("a"))
    third = await database.read(history.page, limit=2, cursor=second.next_cursor)
    told = [entry.transition.detail for page in (first, second, third) for entry in page.items]
    assert told == [f"number {n}" for n in (4, 3, 2, 1, 0)]
    assert third.next_cursor is None


async def test_a_follower_misses_nothing_while_several_write(url: str) -> None:
    """Ids rise in the order of commits, so that nothing appears below an id that was read."""
    databases = [Database(url) for _ in range(4)]
    seen: list[int] = []
    done = asyncio.Event()

    async def follow() -> None:
        while True:
            finished = done.is_set()
            found = await databases[0].read(history.follow, after_id=seen[-1] if seen else 0)
            seen.extend(entry.id for entry in found)
            if finished and not found:
                return

    async def write_some(database: Database, number: int) -> None:
        for n in range(10):
            await write(database, f"s{number}-{n}", moved(f"s{number}-{n}"), moved(f"s{number}-{n}"))

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(follow())
        async with asyncio.TaskGroup() as writers:
            for number, database in enumerate(databases):
                writers.create_task(write_some(database, number))
        done.set()
    assert follower.done()
    assert len(seen) == 80
    assert all(earlier < after for earlier, after in pairwise(seen))
    for database in databases:
        await database.dispose()


async def test_pruning_by_age_and_by_number(database: Database) -> None:
    await write(database, "a", *(moved("a", n) for n in range(10)))
    assert await database.write(history.prune, before=later(2), keep_max=100) == 2
    assert await database.write(history.prune, before=later(0), keep_max=5, limit=2) == 2
    assert await database.write(history.prune, before=later(0), keep_max=5) == 1
    assert await database.write(history.prune, before=later(0), keep_max=5) == 0
    left = await database.read(history.follow)
    assert [entry.transition.detail for entry in left] == [f"number {n}" for n in range(5, 10)]


async def test_ids_go_on_after_everything_was_pruned(database: Database) -> None:
    await write(database, "a", moved("a"))
    last = await database.read(history.last_id)
    await database.write(history.prune, before=later(9), keep_max=0)
    await write(database, "b", moved("b"))
    assert await database.read(history.last_id) > last
