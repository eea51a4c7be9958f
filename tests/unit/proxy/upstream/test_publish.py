"""A publisher is read as fast as it comes or as its clock says, one at a time, and is sent away when nobody reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from proxy.contract import SessionSpec, Upstream
from proxy.errors import PublisherPresentError, UpstreamLostError, UpstreamUnattendedError
from proxy.upstream import demo, publish
from proxy.upstream.items import Quiet
from proxy.upstream.publish import HELD_BYTES_MAX, WAIT_SECONDS, Desk, Publisher

pytestmark = pytest.mark.looptime


async def chunks(*pieces: bytes, breaks: bool = False) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)
    if breaks:
        raise ConnectionResetError


async def endless(piece: bytes = b"x" * 10_000) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0)


async def everything(desk: Desk) -> list[object]:
    return [item async for item in desk.read()]


async def test_what_is_pushed_is_read_and_then_over():
    desk, publisher = Desk(), Publisher()
    desk.seat(publisher)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(publisher.push(chunks(b"a", b"b" * 40_000)))
        got = await everything(desk)
    assert b"".join(item for item in got if isinstance(item, bytes)) == b"a" + b"b" * 40_000
    assert pushing.result() is True
    assert publisher.bytes_taken == 40_001
    assert not publisher.is_open


async def test_a_reader_that_was_first_waits_for_the_publisher():
    desk, publisher = Desk(), Publisher()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(everything(desk))
        await asyncio.sleep(WAIT_SECONDS - 1)
        assert desk.is_awaited
        desk.seat(publisher)
        await publisher.push(chunks(b"late"))
    assert reading.result() == [b"late"]
    assert not desk.is_awaited


async def test_nobody_is_waited_for_without_end():
    with pytest.raises(UpstreamUnattendedError, match="nobody publishes") as failure:
        await everything(Desk())
    assert failure.value.late
    assert not failure.value.lasting


async def test_one_that_breaks_off_is_lost_after_all_it_brought():
    desk, publisher = Desk(), Publisher()
    desk.seat(publisher)
    with pytest.raises(ConnectionResetError):
        await publisher.push(chunks(b"a", breaks=True))
    items = publisher.read()
    assert await anext(items) == b"a"
    with pytest.raises(UpstreamLostError, match="the publisher is gone"):
        await anext(items)


async def test_one_that_is_faster_than_its_reader_has_to_wait():
    publisher = Publisher()
    sent = 0

    async def count() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in endless():
            sent += len(piece)
            yield piece

    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(publisher.push(count()))
        await asyncio.sleep(1)
        assert HELD_BYTES_MAX <= sent < HELD_BYTES_MAX + 30_000
        async with aclosing(publisher.read()) as items:
            for _ in range(30):
                await anext(items)
            await asyncio.sleep(0)
        assert sent > HELD_BYTES_MAX + 30_000
        publisher.dismiss()
        assert await pushing is False


async def test_whoever_stops_to_read_sends_the_publisher_away():
    desk, publisher = Desk(), Publisher()
    desk.seat(publisher)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(publisher.push(endless()))
        async with aclosing(desk.read()) as items:
            await anext(items)
    assert pushing.result() is False
    assert not publisher.is_open


async def test_one_that_was_sent_away_before_it_began_is_not_read():
    publisher = Publisher()
    publisher.dismiss()
    assert await publisher.push(endless()) is False


async def test_a_time_out_of_its_own_is_not_taken_for_that():
    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Publisher().push(slow())


async def test_a_second_publisher_is_refused_until_the_first_has_left():
    desk, first, second = Desk(), Publisher(), Publisher()
    desk.seat(first)
    with pytest.raises(PublisherPresentError):
        desk.seat(second)
    desk.leave(second)
    assert desk.is_taken
    desk.leave(first)
    assert not desk.is_taken
    desk.seat(second)
    desk.dismiss()
    assert not second.is_open
    desk.leave(second)
    desk.dismiss()


async def test_one_that_is_over_is_not_read_again():
    desk, first, second = Desk(), Publisher(), Publisher()
    desk.seat(first)
    first.dismiss()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(everything(desk))
        await asyncio.sleep(1)
        desk.leave(first)
        desk.seat(second)
        await second.push(chunks(b"b"))
    assert reading.result() == [b"b"]


async def test_a_file_comes_no_faster_than_its_clock():
    content = demo.load().content  # 6.4 s
    publisher = Publisher(is_file=True)
    now = asyncio.get_running_loop().time
    began = now()
    got: list[object] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.push(chunks(content)))
        got += [item async for item in publisher.read()]
    assert isinstance(got[0], Quiet)
    assert b"".join(item for item in got if isinstance(item, bytes)) == content
    assert now() - began > 5


def test_the_place_of_what_is_pushed_is_found():
    def spec(*urls: str) -> SessionSpec:
        return SessionSpec(key="cam", upstreams=tuple(Upstream(url=url) for url in urls))

    assert publish.rank(spec("publish:", "demo:")) == 0
    assert publish.rank(spec("demo:", "publish:")) == 1
    assert publish.rank(spec("demo:")) is None
