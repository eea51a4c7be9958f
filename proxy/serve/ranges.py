"""Sends a range of a ring as the rest of an answer whose head has been written.

Where the kernel can send by itself, it does, from the ring's segments to the socket (``sendfile``); else the range is
read and written piece by piece. A client that takes nothing for too long is gone, and so is a range that the ring has
dropped in the middle of an answer: both end the connection, for there is no other way left to say so.
"""

import asyncio
import os
import socket
from asyncio import WriteTransport
from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.core.ring import Ring
from proxy.serve import tcp

PIECE_BYTES: Final = 256 * 1024
"""So much is read at once where the kernel cannot send by itself."""
TURN_BYTES: Final = 4 * 1024 * 1024
"""After so much, about a millisecond of work, others have their turn, however fast a client takes it."""
PIECE_SECONDS: Final = 10.0
"""A client that takes nothing within this time is gone."""
DRAIN_STEP_SECONDS: Final = 0.01


class KernelSend:
    """One range that the kernel sends, from ``begin`` until ``ended`` is called with None, or with what went wrong.

    ``head`` goes in front of it. No task waits meanwhile: the loop calls when the socket takes more.
    """

    __slots__ = (
        "_count",
        "_end",
        "_ended",
        "_head",
        "_own",
        "_progressed_at",
        "_ring",
        "_start",
        "_timer",
        "_transport",
        "_waits",
    )

    def __init__(
        self,
        transport: WriteTransport,
        ring: Ring,
        start: int,
        end: int,
        *,
        head: bytes = b"",
        count: Callable[[int], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        # Our own: the transport may close its descriptor at any time, and the number would come to mean something else.
        sock = transport.get_extra_info("socket")
        self._own = socket.socket(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
        tcp.expect_segments(self._own)
        self._transport = transport
        self._ring = ring
        self._start = start
        self._end = end
        self._head = head
        self._count = count
        self._ended = ended
        self._waits = False
        self._timer: asyncio.TimerHandle | None = None
        self._progressed_at = 0.0

    def begin(self) -> None:
        """Send what the socket takes; ``ended`` may have been called when this returns."""
        try:
            is_done = self._push()
        except BlockingIOError:
            is_done = False
        except _DroppedError:
            self._fail()
            return
        except OSError as error:
            self._finish(error)
            return
        if is_done:
            self._finish(None)
        elif not self._waits:
            self._wait()

    def give_up(self) -> None:
        """The connection is gone: send no more, and say so to ``ended``."""
        self._finish(ConnectionResetError())

    def cancel(self) -> None:
        """Send no more, and tell nobody. Again, if need be."""
        if self._waits:
            asyncio.get_running_loop().remove_writer(self._own.fileno())
            self._waits = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._own.close()

    def _push(self) -> bool:
        """Return whether all of it has been sent; raise BlockingIOError when the socket is full."""
        if self._transport.is_closing():
            raise ConnectionResetError
        while self._head:
            sent = self._own.send(self._head, socket.MSG_MORE | socket.MSG_DONTWAIT)
            self._head = self._head[sent:]
        descriptor, turn = self._own.fileno(), TURN_BYTES
        while self._start < self._end and turn > 0:
            piece = self._ring.locate(self._start)
            if piece is None or not piece.size:
                raise _DroppedError
            size = min(piece.size, self._end - self._start, turn)
            sent = os.sendfile(descriptor, piece.segment.fileno(), piece.offset, size)
            self._start += sent
            self._count(sent)
            turn -= sent
        return self._start == self._end

    def _go_on(self) -> None:
        self._progressed_at = asyncio.get_running_loop().time()
        self.begin()

    def _wait(self) -> None:
        """Come back when there is room: at once, in the loop's next turn, if there is."""
        loop = asyncio.get_running_loop()
        self._waits = True
        loop.add_writer(self._own.fileno(), self._go_on)
        self._progressed_at = loop.time()
        self._timer = loop.call_later(PIECE_SECONDS, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._progressed_at >= PIECE_SECONDS:
            self._fail()
        else:
            self._timer = loop.call_at(self._progressed_at + PIECE_SECONDS, self._look)

    def _fail(self) -> None:
        tcp.reset(self._transport)
        self._finish(ConnectionResetError())

    def _finish(self, error: OSError | None) -> None:
        self.cancel()
        self._ended(error)


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
    try:
        if tcp.socket_of(transport) is not None and tcp.is_plain(transport):
            await _drain(transport)
            await _send_by_kernel(transport, ring, start, end, count)
        else:
            await _send_by_copy(response, ring, start, end, count)
    except (TimeoutError, _DroppedError):
        tcp.reset(transport)
        raise ConnectionResetError from None


class _DroppedError(Exception):
    """The ring does not hold it any more."""


async def _send_by_kernel(
    transport: WriteTransport, ring: Ring, start: int, end: int, count: Callable[[int], None]
) -> None:
    over = asyncio.get_running_loop().create_future()

    def ended(error: OSError | None) -> None:
        if over.done():
            return  # it was cancelled
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    sending = KernelSend(transport, ring, start, end, count=count, ended=ended)
    try:
        sending.begin()
        await over
    finally:
        sending.cancel()


async def _drain(transport: WriteTransport) -> None:
    """Wait until the head has left the transport: what is sent past it must come behind."""
    async with asyncio.timeout(PIECE_SECONDS):
        step = 0.0
        while transport.get_write_buffer_size():
            await asyncio.sleep(step)
            step = DRAIN_STEP_SECONDS
    if transport.is_closing():
        raise ConnectionResetError


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
