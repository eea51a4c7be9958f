"""An upstream over real HTTP: live MPEG-TS made by ffmpeg, counted connection by connection, and its misbehaviours."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from tests.fakes.ports import free_port

FFMPEG = shutil.which("ffmpeg")
MISSING = "needs ffmpeg: apt-get install ffmpeg"
JUNK = b"\x00" * 57
PACKET = 188


class Origin:
    """Serves one endless programme at ``/live/NAME.ts`` under any name, and faults below ``/fault``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.opened: Counter[str] = Counter()
        """Connections ever opened, by name."""
        self.open: Counter[str] = Counter()
        """Connections open now."""
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._hang_up: Counter[str] = Counter()
        self._encoder: asyncio.subprocess.Process | None = None

    def url(self, name: str, kind: str = "live") -> str:
        return f"http://127.0.0.1:{self.port}/{kind}/{name}.ts"

    def end(self, name: str) -> None:
        """End every connection of a name with a clean EOF, and refuse it from now on."""
        self._hang_up[name] += 1

    async def start(self) -> None:
        assert FFMPEG is not None
        self._encoder = await asyncio.create_subprocess_exec(
            *(FFMPEG, "-v", "error", "-re"),
            *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=440:sample_rate=48000"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-b:v", "600k"),
            *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", "-f", "mpegts", "-flush_packets", "1", "-"),
            stdout=asyncio.subprocess.PIPE,
        )

    async def stop(self) -> None:
        if self._encoder is not None and self._encoder.returncode is None:
            self._encoder.kill()
            await self._encoder.wait()

    async def pump(self) -> None:
        """Hand what the encoder makes to every connection, in whole packets."""
        assert self._encoder is not None
        assert self._encoder.stdout is not None
        while True:
            chunk = await self._encoder.stdout.readexactly(PACKET * 7)
            for queue in self._queues:
                if not queue.full():
                    queue.put_nowait(chunk)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[asyncio.Queue[bytes | None]]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=2000)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind, name = request.match_info["kind"], request.match_info["name"]
        self.opened[name] += 1
        self.open[name] += 1
        try:
            return await self._play(request, kind, name)
        finally:
            self.open[name] -= 1

    async def _play(self, request: web.Request, kind: str, name: str) -> web.StreamResponse:
        if self._hang_up[name]:
            return web.Response(status=404, text="off the air")
        match kind:
            case "missing":
                return web.Response(status=404, text="no such channel")
            case "html":
                return web.Response(text="<html><body>Please log in.</body></html>" * 100, content_type="text/html")
            case "hang":
                await asyncio.sleep(3600)
        response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (3 if kind == "drops" else 1e9)
        change: Callable[[bytes], bytes] = _with_junk if kind == "junk" else bytes
        async with self._listening() as queue:
            with suppress(ConnectionResetError):
                while loop.time() < deadline and not self._hang_up[name]:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            chunk = await queue.get()
                            assert chunk is not None
                            await response.write(change(chunk))
        return response


def _with_junk(chunk: bytes) -> bytes:
    return b"".join(chunk[at : at + PACKET] + JUNK for at in range(0, len(chunk), PACKET))


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Run an origin for a while."""
    served = Origin()
    application = web.Application()
    application.router.add_get("/{kind}/{name}.ts", served._answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", served.port).start()
    await served.start()
    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(served.pump())
        try:
            yield served
        finally:
            pumping.cancel()
            await served.stop()
            await runner.cleanup()
