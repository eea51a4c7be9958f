"""An upstream on a real socket that behaves, or misbehaves, as the path says; counts its connections."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from aiohttp import web
from yarl import URL

from proxy.upstream import demo

JUNK = Random(7).randbytes(16 * 1024)  # without a period: sync bytes at equal distances would be padded packets


@dataclass
class FakeUpstream:
    """``/flow /file /html /hang /silent /drop /junk /missing /busy /redirect?to= /round /brief`` and HLS below ``/hls``."""

    base: URL = field(default_factory=URL)
    requests: Counter[str] = field(default_factory=Counter)
    open_now: int = 0
    open_most: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    headers_of: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of the last request for a path."""
    playlists: dict[str, str] = field(default_factory=dict)
    segments: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    zipped: bool = False
    """Whether playlists and segments are sent with gzip to who takes it."""
    content_range: str = ""
    """What is said of every part that is sent, if not the truth."""
    asked: dict[str, asyncio.Event] = field(default_factory=dict)
    """Set when a path has been asked for."""
    rests: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nobody is connected."""

    def url(self, path: str) -> str:
        return str(self.base) + path

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.asked.setdefault(request.path, asyncio.Event()).set()
        self.headers = self.headers_of[request.path] = dict(request.headers)
        self.open_now += 1
        self.rests.clear()
        self.open_most = max(self.open_most, self.open_now)
        try:
            return await self._answer(request)
        finally:
            self.open_now -= 1
            if not self.open_now:
                self.rests.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        if name in self.playlists:
            return self._zipped(web.Response(text=self.playlists[name], content_type="application/vnd.apple.mpegurl"))
        if name in self.segments:
            return self._segment(request, self.segments[name])
        match name.split("/")[0]:
            case "busy":
                return web.Response(status=503)
            case "html":
                return web.Response(text="<!doctype html><p>no stream here</p>", content_type="text/html")
            case "redirect":
                return web.Response(status=302, headers={"Location": request.query["to"]})
            case "round":
                return web.Response(status=307, headers={"Location": "/round"})
            case "hang":
                await asyncio.Event().wait()
            case "file":
                return web.Response(body=demo.load().content, content_type="video/mp2t")
            case "flow" | "silent" | "drop" | "junk" | "brief":
                return await self._stream(request, name)
        return web.Response(status=404, text="nothing here")

    def _segment(self, request: web.Request, content: bytes) -> web.Response:
        wished = request.http_range
        if wished.start is None or not self.ranges:
            return self._zipped(web.Response(body=content))
        stop = min(wished.stop or len(content), len(content))
        told = self.content_range or f"bytes {wished.start}-{stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[wished], headers={"Content-Range": told})

    def _zipped(self, response: web.Response) -> web.Response:
        if self.zipped:
            response.enable_compression()
        return response

    async def _stream(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        if kind == "silent":
            await asyncio.Event().wait()
        clip = demo.load()
        number = 0
        while kind == "junk":
            await response.write(JUNK)
            await asyncio.sleep(0.01)
        while kind == "flow" or number < 1:
            await response.write(clip.round(number))
            number += 1
            await asyncio.sleep(0.02)
        if kind == "drop" and request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def fake_upstream() -> AsyncIterator[FakeUpstream]:
    """Serve on a free port of loopback."""
    upstream = FakeUpstream()
    app = web.Application()
    app.router.add_get("/{tail:.*}", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream.base = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
        yield upstream
    finally:
        await runner.cleanup()
