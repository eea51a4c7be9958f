"""With the embedded broker (amqtt, MQTT 3.1.1): the whole conversation, and convergence instead of a guarantee."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.domain.model import State
from controller.ingest.connection import Link
from controller.store import streams
from controller.store.engine import Database
from tests.fakes.mqtt import PREFIX, Source, running, until
from tests.fakes.ports import free_port
from tests.fakes.subscriber_process import CLIENT_ID, build

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The broker in a process of its own, as ``penstock serve`` runs it."""
    port = free_port()
    child = subprocess.Popen([sys.executable, "-m", "controller", "broker", "--bind", f"127.0.0.1:{port}"], cwd=ROOT)

    async def accepts() -> bool:
        assert child.poll() is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await until(accepts, "the embedded broker listens")
        yield port
    finally:
        child.terminate()
        child.wait(10)


def link_to(port: int) -> Link:
    return Link("127.0.0.1", port, CLIENT_ID, protocol="3.1.1")


async def states(database: Database, *keys: str) -> dict[str, State]:
    runs = await database.read(streams.load_latest, keys)
    return {key: run.stream.state for key, run in runs.items()}


async def test_streams_come_and_go(port, database):
    source = Source(port)
    async with running(build(database, link_to(port))):
        await source.start("a", 1, 1)
        await source.start("b", 1, 1)
        await source.end("a", 1, 2)

        async def is_right() -> bool:
            return await states(database, "a", "b") == {"a": State.CLOSED, "b": State.PENDING}

        await until(is_right, "the database follows")


async def test_many_events_at_once(port, database):
    async with running(build(database, link_to(port))) as subscriber, Source(port).client() as client:
        for seq in range(1, 201):
            payload = {"boot_id": "b1", "epoch": 1, "seq": seq, "upstreams": [f"http://h/{seq}.ts"]}
            await client.publish(f"{PREFIX}/sources/enc-1/streams/cam-7/started", json.dumps(payload), qos=1)
        await until(lambda: subscriber.counts.verdicts.total() == 200, "all events are recorded")
    assert subscriber.counts.verdicts["updated"] == 199


async def test_sources_hear_whether_a_controller_listens(port, database):
    source = Source(port)
    async with source.listening("controller/status") as heard:
        async with running(build(database, link_to(port), boot_id="c1")):
            for online in (False, True):  # nothing is kept for us here: what was said before went nowhere
                assert await heard.next() == ("controller/status", {"online": online, "boot_id": "c1"})
        assert await heard.next() == ("controller/status", {"online": False, "boot_id": "c1"})


async def test_a_birth_makes_right_what_was_missed(port, database):
    source = Source(port)
    async with running(build(database, link_to(port))):
        await source.start("old", 1, 1)

        async def is_known() -> bool:
            return "old" in await states(database, "old")

        await until(is_known, "it is known")
    # Whatever is published now may be lost with this broker. The source is asked, or comes by itself, with its list.
    async with running(build(database, link_to(port))):
        for seq in (1, 2):
            listed = [{"key": "new", "epoch": 2, "seq": 1, "upstreams": ["demo:"]}]
            await source.say("sources/enc-1/birth", {"boot_id": "b1", "seq": seq, "streams": listed})

        async def is_right() -> bool:
            return await states(database, "old", "new") == {"old": State.CLOSED, "new": State.PENDING}

        await until(is_right, "two births in a row have ended the one and started the other")
