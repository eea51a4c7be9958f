"""A proxy for viewers to come to: real registry, sessions, pump and sockets; only the upstream is a test's own."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from ssl import SSLContext
from typing import Any

import pytest
from aiohttp import web

from proxy.contract import EnsureRequest, SessionSpec, StopRequest, Upstream
from proxy.core.feed import Feed
from proxy.core.rota import Backoff
from proxy.registry import Identity, Registry
from proxy.segments import MemfdSegment
from proxy.serve import Pump, connect, mount
from proxy.serve.client import SlowRule
from proxy.session import Session, SessionLimits, SessionPorts, ViewerGauge
from proxy.upstream.ports import PullLimits, PullPorts
from proxy.upstream.slots import Slots

MIB = 1024 * 1024


@cache
def clip(
    seconds: float = 20,
    codec: str = "libx264",
    *,
    audio_only: bool = False,
    bitrate: str = "1M",
    group: int = 25,
    keys_until: float = 0.0,
) -> bytes:
    """Return MPEG-TS of 25 pictures a second with a key picture in every ``group``, made by ffmpeg.

    Up to the second ``keys_until`` there is one in every second besides.
    """
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is missing: apt-get install ffmpeg")
    video = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
    coding = ["-c:v", codec, "-g", str(group), "-b:v", bitrate]
    coding += ["-force_key_frames", f"expr:lt(t,{keys_until})*gte(t,n_forced)"] if keys_until else []
    rate = ["-minrate", bitrate, "-maxrate", bitrate, "-bufsize", bitrate, "-x264-params", "nal-hrd=cbr"]
    extra = {
        "libx264": ["-preset", "ultrafast", *rate],
        "libx265": ["-preset", "ultrafast", "-x265-params", "log-level=none"],
    }
    coding += extra.get(codec, [])
    sound = ["-f", "lavfi", "-i", "sine=440"]
    inputs = sound if audio_only else video + sound
    command = ["ffmpeg", "-v", "error", *inputs, "-t", str(seconds), *([] if audio_only else coding)]
    done = subprocess.run([*command, "-c:a", "aac", "-f", "mpegts", "-"], capture_output=True, check=True)
    return done.stdout


def decode_errors(media: bytes) -> str:
    """Return what ffmpeg says about these bytes at error level; nothing when they decode clean from the first."""
    command = ["ffmpeg", "-v", "error", "-f", "mpegts", "-i", "-", "-f", "null", "-"]
    return subprocess.run(command, input=media, capture_output=True, check=True).stderr.decode()


class Tap:
    """An upstream that gives what a test puts into it, as chunks."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=10_000)
        self.opened = 0

    async def read(self, _upstream: Upstream) -> AsyncGenerator[bytes, None]:
        self.opened += 1
        while (chunk := await self.chunks.get()) is not None:
            yield chunk

    def pour(self, media: bytes, chunk_bytes: int = 64 * 1024) -> None:
        for at in range(0, len(media), chunk_bytes):
            self.chunks.put_nowait(media[at : at + chunk_bytes])

    def end(self) -> None:
        self.chunks.put_nowait(None)


@dataclass
class Place:
    """Where the proxy of a test is, and what is inside."""

    port: int
    registry: Registry
    pump: Pump
    tap: Tap
    epoch: int = 1
    generation: int = 0
    answers: list["Answer"] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(self, path: str, method: str = "GET", **extra: Any) -> "Answer":
        """Send a request on a connection of its own, which ends with the place."""
        answer = await ask(self.port, path, method, **extra)
        self.answers.append(answer)
        return answer

    def run(self, key: str, **spec: object) -> Session:
        """Have the key run."""
        self.generation += 1
        upstreams = (Upstream(url="http://upstream.test/"),)
        wished = SessionSpec.model_validate({"key": key, "upstreams": upstreams, **spec})
        request = EnsureRequest(
            epoch=self.epoch, generation=self.generation, boot_id=self.registry.identity.boot_id, token=1, spec=wished
        )
        self.registry.ensure(f"stream-{key}", request)
        session = self.registry.get(key)
        assert session is not None
        return session

    def stop(self, key: str, moved_to: str = "") -> None:
        session = self.registry.get(key)
        assert session is not None
        request = StopRequest(
            key=key,
            epoch=session.epoch,
            generation=session.generation,
            boot_id=self.registry.identity.boot_id,
            token=1,
            moved_to=moved_to,
        )
        self.registry.stop(f"stream-{key}", request)


@asynccontextmanager
async def place(
    *,
    rule: SlowRule | None = None,
    ring_bytes_max: int = 16 * MIB,
    viewers_max: int = 1000,
    tls: SSLContext | None = None,
    **limits: float,
) -> AsyncIterator[Place]:
    """Run everything a viewer meets, on a port of its own."""
    tap, pump = Tap(), Pump()

    def new_feed(number: int) -> Feed:
        return Feed(
            ring_bytes_max=ring_bytes_max,
            new_segment=MemfdSegment,
            hls=True,
            segment_seconds=1.0,
            window_segments=4,
            discontinuities=number,
        )

    ports = SessionPorts(
        new_feed=new_feed,
        pulling=PullPorts(
            open_upstream=tap.read, slots=Slots(), limits=PullLimits(open_seconds=1.0, open_seconds_min=0.5)
        ),
        backoff=Backoff(),
        gauge=ViewerGauge(viewers_max),
        limits=SessionLimits(**{"start_timeout_seconds": 2.0, "linger_seconds": 0.2, **limits}),
        now=asyncio.get_running_loop().time,
    )
    identity = Identity.fresh("proxy-test", "http://127.0.0.1")
    registry = Registry(identity, ports, sessions_max=10, admit=lambda _spec: None)
    registry.synced = True
    app = web.Application()
    mount(app, registry, pump, rule=rule)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(partial(connect, runner), "127.0.0.1", 0, ssl=tls)
    here = Place(server.sockets[0].getsockname()[1], registry, pump, tap)
    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(pump.run())
        group.create_task(registry.run())
        await asyncio.sleep(0)
        try:
            yield here
        finally:
            for answer in here.answers:
                await answer.close()
            registry.close()
            server.close()
            await runner.cleanup()
            pumping.cancel()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the world rings no bell
            await asyncio.sleep(0.01)


@dataclass
class Answer:
    """An HTTP answer read from a plain socket."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def rest(self, seconds: float = 5.0) -> bytes:
        """Read until the end of the connection."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()

    async def exactly(self, size: int, seconds: float = 5.0) -> bytes:
        async with asyncio.timeout(seconds):
            return await self.reader.readexactly(size)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def ask(port: int, path: str, method: str = "GET", *, limit: int = 64 * 1024, **headers: str) -> Answer:
    """Send a request on a connection of its own and read the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        return await _asked(reader, writer, f"{method} {path}", headers)
    except BaseException:
        writer.close()
        raise


async def again(answer: Answer, path: str, **headers: str) -> Answer:
    """Ask on the connection of an earlier answer, whose body has been read."""
    return await _asked(answer.reader, answer.writer, f"GET {path}", headers)


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str, headers: dict[str, str]
) -> Answer:
    lines = [f"{what} HTTP/1.1", "Host: test", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    return Answer(int(head[0].split()[1]), {n.lower(): v for n, v in fields.items()}, reader, writer)
