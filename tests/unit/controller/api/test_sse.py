"""Pings: a follower of a silent system still proves that it is there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from controller.api import sse
from controller.store import tables
from controller.store.engine import Database
from tests.fakes.api_world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    # On the test's own thread, so that time stands still while the database works.
    database = Database("sqlite://", executor="inline")
    await database.write(tables.create)
    yield World(database)
    await database.dispose()


@pytest.mark.looptime
async def test_silence_is_broken_every_fifteen_seconds(world: World) -> None:
    stream = await sse.open_stream(world.services, None)
    assert await anext(stream) == b"retry: 2000\n\n"
    began = asyncio.get_running_loop().time()
    assert [await anext(stream), await anext(stream)] == [sse.PING, sse.PING]
    assert asyncio.get_running_loop().time() - began == pytest.approx(30)


@pytest.mark.looptime
async def test_rings_that_bring_nothing_do_not_silence_the_ping(world: World) -> None:
    stream = await sse.open_stream(world.services, None)
    await anext(stream)
    loop = asyncio.get_running_loop()
    for second in range(1, 20):
        loop.call_later(second, world.pulse.ring)
    began = loop.time()
    assert await anext(stream) == sse.PING
    assert loop.time() - began == pytest.approx(15)
