"""Sends a range of a ring as the rest of an answer whose head aiohttp has written.

Where the kernel can send by itself, it does, from the ring's segments to the socket (``sendfile``); else the range is
read and written piece by piece. A client that takes nothing for too long is gone, and so is a range that the ring has
dropped in the middle of an answer: both end the connection, for there is no other way left to say so.
"""

import asyncio
import os
from asyncio import WriteTransport
from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.core.ring import Ring
from proxy.serve import tcp

PIECE_BYTES: Final = 256 * 1024
"""So much is read at once where the kernel cannot send by itself."""
TURN_BYTES: Final = 1024 * 1024
"""After so much others have their turn, however fast a client takes it."""
PIECE_SECONDS: Final = 10.0
"""A client that takes nothing within this time is gone."""
DRAIN_STEP_SECONDS: Final = 0.01


async def send_range(
    response: web.StreamResponse,
    transport: WriteTransport,
    ring: Ring,
    start: int,
    end: int,
    *,
    count: Callable[[int], None],
) -> None:
    """Send all of it; tell ``count`` of every part. Raise ConnectionError when the connection has ended."""
    sock = tcp.socket_of(transport)
    try:
        if sock is not None and tcp.is_plain(transport):
            await _drain(transport)
            await _send_by_kernel(transport, ring, start, end, count)
        else:
            await _send_by_copy(response, ring, start, end, count)
    except TimeoutError:
        tcp.reset(transport)
        raise ConnectionResetError from None
    except _DroppedError:
        tcp.reset(transport)
        raise ConnectionResetError from None


class _DroppedError(Exception):
    """The ring does not hold it any more."""


async def _send_by_kernel(
    transport: WriteTransport, ring: Ring, start: int, end: int, count: Callable[[int], None]
) -> None:
    # Our own: the transport may close its descriptor at any time, and the number would come to mean something else.
    own = os.dup(transport.get_extra_info("socket").fileno())
    try:
        turn = TURN_BYTES
        while start < end:
            piece = ring.locate(start)
            if piece is None or not piece.size:
                raise _DroppedError
            try:
                sent = os.sendfile(own, piece.segment.fileno(), piece.offset, min(piece.size, end - start, turn))
            except BlockingIOError:
                await _writable(own)
                turn = TURN_BYTES
                continue
            start += sent
            count(sent)
            turn -= sent
            if turn <= 0:
                await asyncio.sleep(0)
                turn = TURN_BYTES
            if transport.is_closing():
                raise ConnectionResetError
    finally:
        os.close(own)


async def _drain(transport: WriteTransport) -> None:
    """Wait until the head has left the transport: what is sent past it must come behind."""
    async with asyncio.timeout(PIECE_SECONDS):
        step = 0.0
        while transport.get_write_buffer_size():
            await asyncio.sleep(step)
            step = DRAIN_STEP_SECONDS
    if transport.is_closing():
        raise ConnectionResetError


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    room = loop.create_future()
    loop.add_writer(descriptor, _note_room, room)
    try:
        async with asyncio.timeout(PIECE_SECONDS):
            await room
    finally:
        loop.remove_writer(descriptor)


def _note_room(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


async def _send_by_copy(
    response: web.StreamResponse, ring: Ring, start: int, end: int, count: Callable[[int], None]
) -> None:
    while start < end:
        block = ring.read(start, min(PIECE_BYTES, end - start))
        if not block:
            raise _DroppedError
        async with asyncio.timeout(PIECE_SECONDS):
            await response.write(block)
        start += len(block)
        count(len(block))
