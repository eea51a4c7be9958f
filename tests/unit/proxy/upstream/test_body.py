"""Live bodies over real sockets, as they come and chunked, taken in once a beat."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from proxy.contract import Upstream
from proxy.errors import UpstreamLostError, UpstreamSilentError
from proxy.upstream import beat, kinds
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.items import Item, Tap
from proxy.upstream.resolver import Resolver
from tests.fakes.tcp import serving

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = bytes(range(256)) * 4
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Answer every request with what the script writes; yield the address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            await script(writer)

    async with serving(answer) as port:
        yield f"http://127.0.0.1:{port}/"


async def pull(url: str) -> list[bytes]:
    policy = HttpPolicy(connect_timeout_seconds=2, read_timeout_seconds=0.3)
    async with aclosing(kinds.opener(policy, Resolver())(Upstream(url=url))) as items:
        return [piece async for item in items async for piece in pieces(item)]


async def pieces(item: Item) -> AsyncIterator[bytes]:
    if isinstance(item, bytes):
        yield item
    while isinstance(item, Tap):
        piece = item.draw(asyncio.get_running_loop().time())
        if piece is None:
            return
        if piece:
            yield piece
        await beat.next_beat()


def framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.mark.parametrize(("head", "frame", "end"), [(PLAIN, bytes, b""), (CHUNKED, framed, b"0\r\n\r\n")])
async def test_a_body_comes_whole_and_in_few_pieces(head: bytes, frame: Callable[[bytes], bytes], end: bytes) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(head + frame(b"first"))
        for _ in range(100):
            writer.write(frame(PIECE))
            await asyncio.sleep(0.002)
        writer.write(end)

    async with scripted(trickle) as url:
        began = asyncio.get_running_loop().time()
        chunks = await pull(url)
        beats = (asyncio.get_running_loop().time() - began) / beat.BEAT_SECONDS
    assert b"".join(chunks) == b"first" + PIECE * 100
    assert len(chunks) <= beats + 3


async def test_what_comes_faster_than_a_piece_a_beat_is_not_held_back() -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN + PIECE * 32 * 1024)
        await writer.drain()

    async with scripted(pour) as url, asyncio.timeout(2):
        assert sum(map(len, await pull(url))) == len(PIECE) * 32 * 1024


async def test_a_reset_is_a_loss_and_no_end() -> None:
    async def fail(writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN + PIECE)
        await asyncio.sleep(0.1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with scripted(fail) as url:
        with pytest.raises(UpstreamLostError):
            await pull(url)


async def test_silence_is_told_from_an_end() -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN + PIECE)
        await asyncio.sleep(0.6)

    async with scripted(stall) as url:
        with pytest.raises(UpstreamSilentError):
            await pull(url)
