"""A provider of live channels on a real socket that cuts off whoever opens one connection too many."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext

from aiohttp import web
from yarl import URL

from proxy.upstream import demo, pace
from proxy.upstream.items import Reader


@dataclass
class Provider:
    """Every path is a channel that plays in real time; ``pulls_max`` at once, and 403 for one more."""

    base: URL = field(default_factory=URL)
    media: Mapping[str, bytes] = field(default_factory=dict)
    """What is played instead of the demo's clip, by path."""
    lead_seconds: float = 0.0
    """So much of that comes at once."""
    pulls_max: int = 1000
    notices_after_seconds: float = 0.0
    """A closed connection is counted for so long still."""
    is_down: bool = False
    """Whether requests are answered 503."""
    is_silent: bool = False
    """Whether open connections get nothing."""
    requests: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    open_now: int = 0
    open_most: int = 0
    _transports: set[asyncio.BaseTransport] = field(default_factory=set)

    def url(self, path: str) -> str:
        return str(self.base) + path

    @property
    def host(self) -> str:
        return f"{self.base.host}:{self.base.port}"

    def cut(self) -> None:
        """Break every connection."""
        for transport in tuple(self._transports):
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        if self.is_down:
            return web.Response(status=503)
        if self.open_now >= self.pulls_max:
            self.refusals += 1
            return web.Response(status=403, text="one connection only")
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        assert request.transport is not None
        self._transports.add(request.transport)
        try:
            return await self._play(request)
        finally:
            self._transports.discard(request.transport)
            asyncio.get_running_loop().call_later(self.notices_after_seconds, self._forget)

    def _forget(self) -> None:
        self.open_now -= 1

    async def _play(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        with suppress(ConnectionError):
            async for chunk in self._chunks(request.path):
                assert isinstance(chunk, bytes)
                if not self.is_silent:
                    await response.write(chunk)
        return response

    def _chunks(self, path: str) -> Reader:
        return self._paced(self.media[path]) if path in self.media else demo.read()

    async def _paced(self, media: bytes) -> Reader:
        pacer = pace.Pacer(self.lead_seconds)
        for at in range(0, len(media), pace.CHUNK_BYTES):
            chunk = media[at : at + pace.CHUNK_BYTES]
            await pacer.pace(chunk)
            yield chunk


@asynccontextmanager
async def provider(tls: SSLContext | None = None, **fields: object) -> AsyncIterator[Provider]:
    """Serve on a free port of loopback."""
    one = Provider(**fields)  # type: ignore[arg-type]
    app = web.Application()
    app.router.add_get("/{tail:.*}", one.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        one.base = URL(f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}")
        yield one
    finally:
        await runner.cleanup()
