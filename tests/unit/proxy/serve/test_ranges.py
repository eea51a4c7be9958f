"""Ranges of a ring as bodies of real answers: by the kernel over TCP, by copies over a socket that is none of TCP's."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.core.ring import Ring
from proxy.segments import MemfdSegment
from proxy.serve import ranges, tcp

SIZE = 188 * 20_000
RING_BYTES = 8 * 1024 * 1024


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Shelf:
    """One ring with random bytes, served under ``/START-END`` (TCP, and a Unix socket)."""

    def __init__(self) -> None:
        self.ring = Ring(bytes_max=RING_BYTES, seconds_max=60.0, new_segment=MemfdSegment)
        self.content = os.urandom(SIZE)
        self.counted = 0
        self.ended = asyncio.Event()
        for at in range(0, SIZE, 188 * 50):
            self.ring.append(self.content[at : at + 188 * 50], 0.0)

    def count(self, sent: int) -> None:
        self.counted += sent

    async def answer(self, request: web.Request) -> web.StreamResponse:
        start, end = map(int, request.match_info["range"].split("-"))
        response = web.StreamResponse()
        response.content_length = end - start
        assert request.transport is not None
        sock = tcp.socket_of(request.transport)
        if sock is not None:
            tcp.prepare(sock)
        try:
            await response.prepare(request)
            await ranges.send_range(response, request.transport, self.ring, start, end, count=self.count)
            await response.write_eof()
        except ConnectionError:
            return web.Response()
        finally:
            self.ended.set()
        return response


@asynccontextmanager
async def shelf(folder: Path, *, kernel: bool) -> AsyncIterator[tuple[Shelf, str, aiohttp.ClientSession]]:
    served = Shelf()
    app = web.Application()
    app.router.add_get("/{range}", served.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0) if kernel else web.UnixSite(runner, str(folder / "socket"))
    await site.start()
    where = f"http://127.0.0.1:{runner.addresses[0][1]}" if kernel else "http://shelf"
    connector = aiohttp.TCPConnector() if kernel else aiohttp.UnixConnector(str(folder / "socket"))
    try:
        async with aiohttp.ClientSession(connector=connector, read_bufsize=1024) as http:
            yield served, where, http
    finally:
        await runner.cleanup()
        served.ring.close()


@pytest.mark.parametrize("kernel", [True, False])
def test_ranges_come_byte_for_byte_and_the_connection_serves_on(run, tmp_path: Path, kernel: bool) -> None:
    async def story() -> None:
        async with shelf(tmp_path, kernel=kernel) as (served, where, http):
            for start, end in ((0, SIZE), (188, 376), (1_048_500, 1_048_700), (SIZE - 1, SIZE)):
                async with http.get(f"{where}/{start}-{end}") as answer:
                    assert await answer.read() == served.content[start:end]
            assert served.counted == SIZE + 188 + 200 + 1

    run(story)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_client_that_pauses_gets_the_rest_later(run, tmp_path: Path, kernel: bool) -> None:
    async def story() -> None:
        async with shelf(tmp_path, kernel=kernel) as (served, where, http), http.get(f"{where}/0-{SIZE}") as answer:
            first = await answer.content.readexactly(1000)
            await asyncio.sleep(0.2)
            assert first + await answer.read() == served.content

    run(story)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_client_that_takes_nothing_is_gone(
    run, tmp_path: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PIECE_SECONDS", 0.2)

    async def story() -> None:
        async with shelf(tmp_path, kernel=kernel) as (served, where, http):
            stalled = [await http.get(f"{where}/0-{SIZE}") for _ in range(2)]
            async with asyncio.timeout(3):
                await served.ended.wait()
            with pytest.raises(aiohttp.ClientError):
                await stalled[0].read()
            stalled[1].close()

    run(story)


def test_a_range_that_is_dropped_ends_the_connection(run, tmp_path: Path) -> None:
    async def story() -> None:
        async with shelf(tmp_path, kernel=True) as (served, where, http), http.get(f"{where}/0-{SIZE}") as answer:
            served.ring.append(os.urandom(188 * 44_000), 0.0)  # all of the ring, anew
            with pytest.raises(aiohttp.ClientError):
                await answer.read()

    run(story)


def test_a_client_that_leaves_leaves_nothing_behind(run, tmp_path: Path) -> None:
    async def story() -> None:
        async with shelf(tmp_path, kernel=True) as (served, where, http):
            async with http.get(f"{where}/0-188") as answer:
                await answer.read()
            before = open_files()
            served.ended.clear()
            answer = await http.get(f"{where}/0-{SIZE}")
            answer.close()
            async with asyncio.timeout(2):
                await served.ended.wait()
            await asyncio.sleep(0.05)
            assert open_files() <= before

    run(story)
