"""GET /ts/{key}: MPEG-TS without an end, from the newest random access point on.

The head is written past aiohttp, which would announce chunked coding; from then on only the pump touches the socket.
The handler is parked until the viewer has to go, or is cancelled when its connection ends.
"""

import asyncio
from typing import Final

import structlog
from aiohttp import web

from proxy.contract import Output
from proxy.core.feed import Feed, Medium
from proxy.registry import Registry
from proxy.serve.answers import CORS, RefusedError, find, following, plain_head
from proxy.serve.burst import QUERY, Burst, BurstLimits, find_start, parse
from proxy.serve.client import Client, SlowRule
from proxy.serve.pump import Pump
from proxy.serve.viewer import new_viewer, started_feed
from proxy.session import Session, Viewer

DRAIN_SECONDS: Final = 5.0
DRAIN_STEP_SECONDS: Final = 0.01
MEDIA_TYPE: Final = "video/mp2t"
HEADERS: Final = CORS | {
    "Content-Type": MEDIA_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold back what it gathers
    "Connection": "close",
}

log = structlog.get_logger(__name__)


class TsDoor:
    """The handlers of one application."""

    def __init__(self, registry: Registry, pump: Pump, rule: SlowRule, burst_limits: BurstLimits) -> None:
        self._registry = registry
        self._pump = pump
        self._rule = rule
        self._burst_limits = burst_limits

    async def look(self, request: web.Request) -> web.StreamResponse:
        """HEAD: say whether the key is served; nobody is counted, and no upstream is opened."""
        key = request.match_info["key"]
        with following(self._registry, key):
            _refuse_fragments(find(self._registry, key, Output.TS))
        _burst_of(request)
        response = web.Response(headers=HEADERS)
        response.force_close()
        return response

    async def watch(self, request: web.Request) -> web.StreamResponse:
        with following(self._registry, request.match_info["key"]):
            return await self._watch(request)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        session = find(self._registry, request.match_info["key"], Output.TS)
        _refuse_fragments(session)
        burst = _burst_of(request)
        viewer = new_viewer(request, Output.TS)
        session.enter(viewer)
        try:
            feed = await started_feed(session)
            _refuse_fragments(session)  # which is known only now, if nobody watched before
            feed.hold()
            try:
                await self._carry(request, viewer, feed, burst)
            finally:
                feed.release()
        finally:
            session.leave(viewer)
            log.info(
                "viewer.left",
                viewer=viewer.viewer_id,
                key=session.key,
                bytes_sent=viewer.bytes_sent,
                moves=viewer.moves,
            )
        return web.Response()  # aiohttp finds the connection closed, and writes nothing

    async def _carry(self, request: web.Request, viewer: Viewer, feed: Feed, burst: Burst | None) -> None:
        """Let the pump send to this viewer until it has to go; then see it off."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        await _drain(transport)
        start = find_start(feed, burst, self._burst_limits, asyncio.get_running_loop().time())
        client = Client(viewer, feed, transport, head=plain_head(HEADERS), rule=self._rule, start=start)
        try:
            self._pump.admit(client)
            await viewer.over.wait()
        finally:
            self._pump.dismiss(client)
        await self._pump.farewell(client)
        transport.close()


def _refuse_fragments(session: Session) -> None:
    """Raise RefusedError when the upstream's segments can be given to viewers of HLS alone."""
    if session.feed is not None and session.feed.medium is Medium.MP4:
        raise RefusedError(406, f"{session.key} is {Medium.MP4}: it is watched at /hls/{session.key}/index.m3u8 only")


def _burst_of(request: web.Request) -> Burst | None:
    text = request.query.get(QUERY)
    return None if text is None else parse(text)


async def _drain(transport: asyncio.WriteTransport) -> None:
    """Wait until earlier answers on this connection have left the transport."""
    async with asyncio.timeout(DRAIN_SECONDS):
        while transport.get_write_buffer_size():  # noqa: ASYNC110 - transports tell nobody that they are empty
            await asyncio.sleep(DRAIN_STEP_SECONDS)
