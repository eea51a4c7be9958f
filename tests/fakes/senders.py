"""What sends streams in tests: ffmpeg in as many roles as it has, all of them ended with the test."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

FFMPEG = shutil.which("ffmpeg")
MISSING = "needs ffmpeg: apt-get install ffmpeg"
PICTURES = ("-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25")
SOUND = ("-f", "lavfi", "-i", "sine=440:sample_rate=48000")
CODING = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "12", "-b:v", "600k"),
    *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k"),
)


class Senders:
    """The programs that were started, with what they said."""

    def __init__(self) -> None:
        self.started: list[Process] = []

    async def run(self, *arguments: str) -> Process:
        assert FFMPEG is not None
        process = await asyncio.create_subprocess_exec(
            *(FFMPEG, "-hide_banner", "-nostdin", "-v", "error", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.started.append(process)
        return process

    async def encode(self, *output: str, seconds: float | None = None) -> Process:
        """Send a picture and a tone, live, to wherever the options say."""
        length = () if seconds is None else ("-t", str(seconds))
        return await self.run(*PICTURES, *SOUND, *length, *CODING, *output)

    async def encode_to_all(self, *outputs: str) -> Process:
        """Send one encoding to many places, each as ``[options]url`` of ffmpeg's tee."""
        maps = ("-map", "0:v", "-map", "1:a", "-flags", "+global_header")
        return await self.encode(*maps, "-f", "tee", "|".join(outputs))


@asynccontextmanager
async def senders() -> AsyncIterator[Senders]:
    """Start programs inside; all that still run are killed at the end."""
    here = Senders()
    try:
        yield here
    finally:
        for process in here.started:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in here.started))


async def probe(url: str, seconds: float = 20) -> list[str]:
    """Return the codecs that ffprobe finds in what is played there; fail when it plays nothing in time."""
    prober = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"),
        *("-analyzeduration", "2000000", "-probesize", "1000000", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            shown, complaints = await prober.communicate()
    except TimeoutError:
        prober.kill()
        await prober.wait()
        raise
    assert shown, complaints.decode()
    return sorted(set(shown.decode().split()))
