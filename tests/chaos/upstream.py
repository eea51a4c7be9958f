"""``python -m tests.chaos.upstream HOST PORT``: an origin in a process of its own.

``/{name}`` is a clip at the speed of its clock, begun anew for each who asks. ``/live/{name}`` is what an encoder sends
now, with ``PUT /encoder``, the same for all; it ends when the encoder does, and there is nothing of it without one.
"""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from proxy.upstream import demo

QUEUE_MAX = 500
"""Pieces that may wait for one who reads slowly; he is let go then."""

CONTENT_TYPE = {"Content-Type": "video/mp2t"}
ENDED = b""


def encoder(url: str) -> list[str | Path]:
    """Return what encodes pictures and a tone in real time, and sends them to the origin."""
    pictures = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
    tone = ["-f", "lavfi", "-i", "sine=440:sample_rate=48000"]
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-b:v", "300k"]
    audio = ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k"]
    target = ["-f", "mpegts", "-flush_packets", "1", "-method", "PUT", f"{url}/encoder"]
    return ["ffmpeg", "-v", "error", "-re", *pictures, *tone, *video, *audio, *target]


class Live:
    """Hands what the encoder sends to everybody who asks for it."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._encoders = 0

    async def take(self, request: web.Request) -> web.Response:
        self._encoders += 1
        try:
            async for piece in request.content.iter_any():
                self._hand_out(piece)
        finally:
            self._encoders -= 1
            self._hand_out(ENDED)
        return web.Response()

    def _hand_out(self, piece: bytes) -> None:
        for reader in list(self._readers):
            if reader.qsize() >= QUEUE_MAX:
                self._readers.discard(reader)
                piece = ENDED
            reader.put_nowait(piece)

    async def give(self, request: web.Request) -> web.StreamResponse:
        if not self._encoders:
            return web.Response(status=503)
        response = web.StreamResponse(headers=CONTENT_TYPE)
        await response.prepare(request)
        reader: asyncio.Queue[bytes] = asyncio.Queue()
        self._readers.add(reader)
        try:
            while piece := await reader.get():
                await response.write(piece)
        finally:
            self._readers.discard(reader)
        return response


async def send(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=CONTENT_TYPE)
    await response.prepare(request)
    async for piece in demo.read():
        await response.write(piece)
    return response


def main() -> None:
    app = web.Application()
    live = Live()
    app.router.add_put("/encoder", live.take)
    app.router.add_post("/encoder", live.take)
    app.router.add_get("/live/{name}", live.give)
    app.router.add_get("/{name}", send)
    web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
