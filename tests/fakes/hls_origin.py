"""Live HLS as ffmpeg makes it, over real HTTP: ``/plain``, ``/secret`` (AES-128, keys that change), ``/mp4``."""

import asyncio
import itertools
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

FFMPEG = shutil.which("ffmpeg")
MISSING = "needs ffmpeg: apt-get install ffmpeg"
KINDS = {
    "plain": [],
    "secret": ["-hls_key_info_file", "key.info", "-hls_flags", "delete_segments+periodic_rekey"],
    "mp4": ["-hls_segment_type", "fmp4"],
}


class HlsOrigin:
    """Serves what the encoder writes below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = 0
        self.is_down = False
        self.requests: Counter[str] = Counter()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.port}/{kind}/live.m3u8"

    def ready(self, kind: str, segments: int = 3) -> bool:
        playlist = self.home / kind / "live.m3u8"
        return playlist.exists() and playlist.read_text().count("#EXTINF") >= segments

    async def change_keys(self) -> None:
        """Have the encoder take another key every second or so."""
        for number in itertools.count():
            (self.home / "secret" / f"{number}.key").write_bytes(os.urandom(16))
            new = self.home / "key.new"
            new.write_text(f"{number}.key\nsecret/{number}.key\n")
            new.rename(self.home / "key.info")
            await asyncio.sleep(1)

    async def encode(self) -> asyncio.subprocess.Process:
        """Write every kind from one encoder, in real time, with a key picture and a segment each second."""
        assert FFMPEG is not None
        outputs: list[str] = []
        for kind, options in KINDS.items():
            listing = [
                "-hls_time",
                "1",
                "-hls_list_size",
                "6",
                "-hls_delete_threshold",
                "6",
                "-hls_flags",
                "delete_segments",
            ]
            outputs += [*("-map", "0", "-map", "1", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25")]
            outputs += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "hls", *listing, *options]
            outputs += ["-hls_segment_filename", f"{kind}/s%d.ts", f"{kind}/live.m3u8"]
        return await asyncio.create_subprocess_exec(
            *(FFMPEG, "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"),
            *("-re", "-f", "lavfi", "-i", "sine=440:sample_rate=48000", *outputs),
            cwd=self.home,
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        if self.is_down:
            return web.Response(status=503)
        path = self.home / request.match_info["path"]
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)


@asynccontextmanager
async def hls_origin(home: Path) -> AsyncIterator[HlsOrigin]:
    """Encode and serve for a while."""
    origin = HlsOrigin(home)
    application = web.Application()
    application.router.add_get("/{path:.*}", origin.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin.port = runner.addresses[0][1]
    for kind in KINDS:
        (home / kind).mkdir()
    async with asyncio.TaskGroup() as group:
        changing = group.create_task(origin.change_keys())
        await asyncio.sleep(0)
        encoder = await origin.encode()
        try:
            yield origin
        finally:
            with suppress(ProcessLookupError):
                encoder.kill()
            await encoder.wait()
            changing.cancel()
            await runner.cleanup()
