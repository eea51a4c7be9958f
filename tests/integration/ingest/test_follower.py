"""Whoever changes a stream, its state is told: the follower reads the history of a real database."""

import asyncio
import time
from collections.abc import Iterable, Sequence

import pytest

from controller.domain.events import Incoming, Order, StopRequested, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import ANONYMOUS, Cause, Key, Run, SourceId, StreamId, StreamSpec, Upstream
from controller.ingest.follower import StateFollower
from controller.ingest.outgoing import Outbox
from controller.store import history, record, streams
from controller.store.engine import Database
from tests.fakes.subscriber_process import new_id

CAUSE = Cause("operator:bob", "test")


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(time.monotonic)


@pytest.fixture
async def follower(database: Database, outbox: Outbox) -> StateFollower:
    async def read_last_id() -> int:
        return await database.read(history.last_id)

    async def read_after(after_id: int) -> Sequence[history.Entry]:
        return await database.read(history.follow, after_id=after_id)

    async def read_runs(stream_ids: Iterable[StreamId]) -> Sequence[Run]:
        return tuple((await database.read(streams.load_runs, tuple(stream_ids))).values())

    follower = StateFollower(outbox, read_last_id=read_last_id, read_after=read_after, read_runs=read_runs)
    assert not await follower.follow()
    return follower


async def happen(database: Database, *events: Incoming) -> None:
    await database.write(record.record_now, events, new_id=new_id)


def started(epoch: int = 1, source: str = "enc-1") -> StreamAnnounced:
    order = None if source == ANONYMOUS else Order(epoch, 1)
    return StreamAnnounced(SourceId(source), Key("cam-7"), StreamSpec((Upstream("demo:"),)), CAUSE, order)


async def told(outbox: Outbox) -> list[str]:
    topics = []
    while len(outbox):
        topics.append((await outbox.take()).message.topic.removeprefix("penstock/v1/"))
    return topics


async def test_it_tells_what_happens_from_now_on(database, outbox, follower):
    await happen(database, started())
    assert await follower.follow()
    assert await told(outbox) == ["streams/cam-7/state"]
    assert not await follower.follow()
    assert await told(outbox) == []


async def test_of_several_runs_the_newest_is_told(database, outbox, follower):
    await happen(database, started(1), started(2), started(3))
    await follower.follow()
    [entry] = [await outbox.take()]
    assert b'"epoch":3' in entry.message.payload
    assert len(outbox) == 0


@pytest.mark.parametrize(
    ("source", "heard"),
    [("enc-1", ["streams/cam-7/state", "sources/enc-1/command"]), (ANONYMOUS, ["streams/cam-7/state"])],
)
async def test_a_source_is_told_that_an_operator_stopped_its_stream(database, outbox, follower, source, heard):
    await happen(database, started(source=source))
    run = (await database.read(streams.load_latest, [Key("cam-7")]))[Key("cam-7")]
    await happen(database, StopRequested(run.stream.id, CAUSE))
    await follower.follow()
    assert await told(outbox) == heard


async def test_a_source_is_not_told_of_its_own_end(database, outbox, follower):
    await happen(database, started(), StreamEndAnnounced(SourceId("enc-1"), Key("cam-7"), CAUSE, Order(1, 2)))
    await follower.follow()
    assert await told(outbox) == ["streams/cam-7/state"]


async def test_it_looks_when_it_is_woken(database, outbox, follower):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follower.run())
        await happen(database, started())
        follower.wake()
        async with asyncio.timeout(5):
            entry = await outbox.take()
        assert entry.message.topic.endswith("/state")
        task.cancel()
