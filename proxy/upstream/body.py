"""Takes in the body of a live answer once a beat, not whenever the network brings some of it.

Between two beats the transport is paused and the kernel collects. A body that comes as it is, without coding and TLS,
is then drawn from the socket itself, past aiohttp: one system call a beat. Every other body takes aiohttp's way.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import ClientResponse

from proxy.errors import UpstreamSilentError
from proxy.upstream.beat import next_beat
from proxy.upstream.items import Tap

CODED: Final = frozenset({"Transfer-Encoding", "Content-Encoding"})
READ_BYTES_MIN: Final = 16 * 1024
READ_BYTES_MAX: Final = 256 * 1024
"""What has come is read in pieces of at most this size; a full one is followed by the next at once."""
READS_MAX: Final = 16
"""So many at a beat: others have their turn, too."""


async def gathered(response: ClientResponse, silence_seconds: float) -> AsyncGenerator[bytes | Tap, None]:
    """Yield the body, or what it is drawn from; raise UpstreamSilentError after so long without a byte.

    Every other end but a clean one raises what the connection raises.
    """
    transport = response.connection.transport if response.connection is not None else None
    if transport is None:  # all of it is here already
        async for chunk in response.content.iter_any():
            yield chunk
    elif response.headers.keys() & CODED or transport.get_extra_info("sslcontext") is not None:
        async for chunk in _decoded(response, transport):
            yield chunk
    else:
        async for item in _plain(response, transport, silence_seconds):
            yield item


async def _decoded(response: ClientResponse, transport: asyncio.Transport) -> AsyncGenerator[bytes, None]:
    while chunk := await response.content.readany():
        yield chunk
        if len(chunk) < READ_BYTES_MAX:
            transport.pause_reading()
            await next_beat()
            transport.resume_reading()


async def _plain(
    response: ClientResponse, transport: asyncio.Transport, silence_seconds: float
) -> AsyncGenerator[bytes | Tap, None]:
    before = []
    while chunk := response.content.read_nowait():
        before.append(chunk)
    transport.pause_reading()  # not earlier: aiohttp resumes when it is read from; and it is never read from again
    if before:
        yield b"".join(before)
    body = _Body(transport, silence_seconds)
    yield Tap(body.draw)
    if body.failure is not None:
        raise body.failure


class _Body:
    """What comes over one connection from now on, until ``failure`` or a clean end."""

    def __init__(self, transport: asyncio.Transport, silence_seconds: float) -> None:
        self.failure: Exception | None = None
        self._transport = transport
        self._descriptor: int = transport.get_extra_info("socket").fileno()
        self._silence_seconds = silence_seconds
        self._heard_at = asyncio.get_running_loop().time()
        self._is_over = False
        self._room = READ_BYTES_MIN
        """Bytes to make room for: somewhat more than came the last time, since room that is not needed costs, too."""

    def draw(self, now: float) -> bytes | None:
        if not self._is_over and self._transport.is_closing():  # its descriptor may be another's soon
            self._end(ConnectionResetError())
        drawn = b"" if self._is_over else self._read()
        if drawn:
            self._heard_at = now
        elif not self._is_over and now - self._heard_at > self._silence_seconds:
            self._end(UpstreamSilentError(self._silence_seconds))
        return drawn or (None if self._is_over else b"")

    def _read(self) -> bytes:
        """Return what there is; note an end that comes after it."""
        pieces = []
        try:
            for _ in range(READS_MAX):
                room = self._room
                piece = os.read(self._descriptor, room)
                pieces.append(piece)
                self._room = min(max(len(piece) + len(piece) // 2, READ_BYTES_MIN), READ_BYTES_MAX)
                if len(piece) < room:
                    self._is_over = not piece
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(error)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end(self, failure: Exception) -> None:
        self.failure = failure
        self._is_over = True
