"""GET /ts/{key}: MPEG-TS without an end, from the newest random access point on.

The head is written past aiohttp, which would announce chunked coding; from then on only the pump touches the socket.
The handler is parked until the viewer has to go, or is cancelled when its connection ends.
"""

import asyncio
from typing import Final

import structlog
from aiohttp import web

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.registry import Registry
from proxy.serve import tcp
from proxy.serve.answers import CORS, find
from proxy.serve.client import Client, SlowRule
from proxy.serve.pump import Pump
from proxy.serve.viewer import new_viewer, started_feed
from proxy.session import Viewer

DRAIN_SECONDS: Final = 5.0
DRAIN_STEP_SECONDS: Final = 0.01
MEDIA_TYPE: Final = "video/mp2t"
HEADERS: Final = CORS | {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "Connection": "close"}
HEAD: Final = (
    "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items()) + "\r\n"
).encode()

log = structlog.get_logger(__name__)


class TsDoor:
    """The handlers of one application."""

    def __init__(self, registry: Registry, pump: Pump, rule: SlowRule) -> None:
        self._registry = registry
        self._pump = pump
        self._rule = rule

    async def look(self, request: web.Request) -> web.StreamResponse:
        """HEAD: say whether the key is served, without opening its upstream."""
        find(self._registry, request.match_info["key"], Output.TS)
        response = web.Response(headers=HEADERS)
        response.force_close()
        return response

    async def watch(self, request: web.Request) -> web.StreamResponse:
        session = find(self._registry, request.match_info["key"], Output.TS)
        viewer = new_viewer(request, Output.TS)
        session.enter(viewer)
        try:
            feed = await started_feed(session)
            feed.hold()
            try:
                await self._carry(request, viewer, feed)
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

    async def _carry(self, request: web.Request, viewer: Viewer, feed: Feed) -> None:
        """Let the pump send to this viewer until it has to go; then see it off."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        await _drain(transport)
        client = Client(viewer, feed, transport, head=HEAD, rule=self._rule)
        if client.sock is not None:
            tcp.prepare(client.sock)
        try:
            self._pump.admit(client)
            await viewer.over.wait()
        finally:
            self._pump.dismiss(client)
        await self._pump.farewell(client)
        transport.close()


async def _drain(transport: asyncio.WriteTransport) -> None:
    """Wait until earlier answers on this connection have left the transport."""
    async with asyncio.timeout(DRAIN_SECONDS):
        while transport.get_write_buffer_size():  # noqa: ASYNC110 - transports tell nobody that they are empty
            await asyncio.sleep(DRAIN_STEP_SECONDS)
