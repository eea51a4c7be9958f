"""Takes in the body of a live answer once a beat, not whenever the network brings some of it.

Between two beats the transport is paused and the kernel collects. A body that comes as it is, without coding and TLS,
is then read from the socket itself, past aiohttp: one system call a beat. Every other body takes aiohttp's way.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import ClientResponse

from proxy.errors import UpstreamSilentError
from proxy.upstream.beat import next_beat

CODED: Final = frozenset({"Transfer-Encoding", "Content-Encoding"})
READ_BYTES: Final = 256 * 1024
"""What has come is read in pieces of this size; a full one is followed by the next at once."""


async def gathered(response: ClientResponse, silence_seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body; raise UpstreamSilentError after so long without a byte, else what the connection raises."""
    transport = response.connection.transport if response.connection is not None else None
    if transport is None:  # all of it is here already
        async for chunk in response.content.iter_any():
            yield chunk
    elif response.headers.keys() & CODED or transport.get_extra_info("sslcontext") is not None:
        async for chunk in _decoded(response, transport):
            yield chunk
    else:
        async for chunk in _plain(response, transport, silence_seconds):
            yield chunk


async def _decoded(response: ClientResponse, transport: asyncio.Transport) -> AsyncGenerator[bytes, None]:
    while chunk := await response.content.readany():
        yield chunk
        if len(chunk) < READ_BYTES:
            transport.pause_reading()
            await next_beat()
            transport.resume_reading()


async def _plain(
    response: ClientResponse, transport: asyncio.Transport, silence_seconds: float
) -> AsyncGenerator[bytes, None]:
    now = asyncio.get_running_loop().time
    before = []
    while chunk := response.content.read_nowait():
        before.append(chunk)
    transport.pause_reading()  # not earlier: aiohttp resumes when it is read from; and it is never read from again
    if before:
        yield b"".join(before)
    descriptor = transport.get_extra_info("socket").fileno()
    heard_at = now()
    while not transport.is_closing():
        try:
            chunk = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            if now() - heard_at > silence_seconds:
                raise UpstreamSilentError(silence_seconds) from None
        else:
            if not chunk:
                return
            heard_at = now()
            yield chunk
            if len(chunk) == READ_BYTES:
                continue
        await next_beat()
    raise ConnectionResetError
