"""Where a stream that is pushed to the proxy comes in: one publisher at a time, no faster than it is read.

Each session has one ``Desk``. A ``Publisher`` is one request; it comes and goes as it likes, and the reader, which is
the pull's, waits for it and reads it to its end. Nothing here knows HTTP.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable
from typing import Final

from proxy.contract import SessionSpec, Upstream
from proxy.errors import PublisherPresentError, UpstreamLostError, UpstreamUnattendedError
from proxy.upstream import pace
from proxy.upstream.items import Quiet, Reader

URL: Final = "publish:"
WAIT_SECONDS: Final = 4.0
"""So long a reader waits for a publisher before it says that there is none."""
HELD_BYTES_MAX: Final = 256 * 1024
"""What came and has not been read; with so much the publisher has to wait."""


def is_published(upstream: Upstream) -> bool:
    return upstream.url == URL


def rank(spec: SessionSpec) -> int | None:
    """Return the place of the upstream that is pushed in the list of upstreams; None when there is none."""
    return next((index for index, upstream in enumerate(spec.upstreams) if is_published(upstream)), None)


class Publisher:
    """One push. ``is_file``: its length is known, so it is no faster than its own clock."""

    def __init__(self, *, is_file: bool = False) -> None:
        self.bytes_taken = 0
        self._is_file = is_file
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._read_out = asyncio.Event()
        self._is_complete = False
        self._is_broken = False
        self._is_dismissed = False
        self._scope: asyncio.Timeout | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is anything to wait for."""
        return not (self._is_dismissed or self._is_broken or (self._is_complete and not self._held))

    async def push(self, chunks: AsyncIterable[bytes]) -> bool:
        """Hand everything over; return True when it has been read to its end, False when the publisher is sent away."""
        try:
            async with asyncio.timeout(0 if self._is_dismissed else None) as self._scope:
                async for chunk in chunks:
                    await self._give(chunk)
                self._is_complete = True
                self._news.set()
                await self._read_out.wait()
        except TimeoutError:
            if not self._is_dismissed:
                raise
            return False
        finally:
            self._scope = None
            self._is_broken = not self._is_complete
            self._news.set()
        return True

    def dismiss(self) -> None:
        """Send it away; a second call does nothing."""
        self._is_dismissed = True
        self._news.set()
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def read(self) -> Reader:
        """Yield what it brings, to its end; raise UpstreamLostError when it breaks off."""
        pacer = pace.Pacer() if self._is_file else None
        if pacer is not None:
            yield Quiet(pace.LEAD_SECONDS)
        while True:
            while self._held:
                chunk = self._take()
                if pacer is not None:
                    await pacer.pace(chunk)
                yield chunk
            if self._is_complete:
                break
            if not self.is_open:
                raise UpstreamLostError("the publisher is gone")
            self._news.clear()
            await self._news.wait()
        if pacer is not None:
            await pacer.finish()
        self._read_out.set()

    async def _give(self, chunk: bytes) -> None:
        while self._held_bytes >= HELD_BYTES_MAX:
            self._room.clear()
            await self._room.wait()
        for at in range(0, len(chunk), pace.CHUNK_BYTES):
            self._held.append(chunk[at : at + pace.CHUNK_BYTES])
        self._held_bytes += len(chunk)
        self._news.set()

    def _take(self) -> bytes:
        chunk = self._held.popleft()
        self._held_bytes -= len(chunk)
        self.bytes_taken += len(chunk)
        self._room.set()
        return chunk


class Desk:
    """The one seat of a session."""

    def __init__(self) -> None:
        self._publisher: Publisher | None = None
        self._came = asyncio.Event()
        self.is_awaited = False
        """Whether a reader waits here for a publisher."""

    @property
    def is_taken(self) -> bool:
        return self._publisher is not None

    def seat(self, publisher: Publisher) -> None:
        """Raise PublisherPresentError if another one is here."""
        if self._publisher is not None:
            raise PublisherPresentError
        self._publisher = publisher
        self._came.set()

    def leave(self, publisher: Publisher) -> None:
        if self._publisher is publisher:
            self._publisher = None
            self._came.clear()

    def dismiss(self) -> None:
        """Send away who is here."""
        if self._publisher is not None:
            self._publisher.dismiss()

    async def read(self) -> Reader:
        """Yield what one publisher brings. Whoever stops to read sends it away: nobody may push into nothing."""
        publisher = await self._next()
        try:
            async for item in publisher.read():
                yield item
        finally:
            publisher.dismiss()

    async def _next(self) -> Publisher:
        self.is_awaited = True
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._publisher is None or not self._publisher.is_open:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise UpstreamUnattendedError from None
        finally:
            self.is_awaited = False
        return self._publisher
