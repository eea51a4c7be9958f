"""A whole Penstock on this machine, as ``penstock serve`` starts it: real processes, found by their names."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import aiomqtt
import psutil

from tests.fakes.ports import free_port

PENSTOCK = Path(sys.executable).parent / "penstock"
START_SECONDS = 60
PREFIX = "penstock/v1"


class Machine:
    """One running ``penstock serve``."""

    def __init__(self, data: Path, mqtt_port: int, *, has_own_broker: bool, environment: dict[str, str]) -> None:
        self.data = data
        self.http_port = free_port()
        self.media_port = free_port()
        self.mqtt_port = mqtt_port
        self.log_path = data / "penstock.log"
        self._has_own_broker = has_own_broker
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    # Addresses

    def ts(self, key: str) -> str:
        return f"http://127.0.0.1:{self.media_port}/ts/{key}"

    def hls(self, key: str) -> str:
        return f"http://127.0.0.1:{self.media_port}/hls/{key}/index.m3u8"

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    # The API

    async def get(self, path: str) -> Any:
        async with self.http.get(f"http://127.0.0.1:{self.http_port}{path}") as response:
            return await response.json(content_type=None)

    async def delete(self, path: str) -> int:
        async with self.http.delete(f"http://127.0.0.1:{self.http_port}{path}") as response:
            return response.status

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.post(f"http://127.0.0.1:{self.http_port}{path}", json=body) as response:
            return response.status, await response.json(content_type=None)

    async def streams(self, query: str = "") -> list[dict[str, Any]]:
        return (await self.get(f"/streams{query}"))["items"]

    async def stream(self, key: str) -> dict[str, Any] | None:
        """Return the newest run of a key, CLOSED or not."""
        async with self.http.get(f"http://127.0.0.1:{self.http_port}/streams/{key}") as response:
            return await response.json() if response.status == 200 else None

    async def state(self, key: str) -> str | None:
        stream = await self.stream(key)
        return stream["state"] if stream is not None else None

    async def condition(self, key: str, kind: str) -> dict[str, Any] | None:
        stream = await self.stream(key)
        return next((c for c in (stream or {"conditions": []})["conditions"] if c["type"] == kind), None)

    async def sync_check(self, *, live: bool = False) -> dict[str, Any]:
        return await self.get("/debug/sync-check" + ("?live=1" if live else ""))

    async def control(self, method: str, path: str, **kwargs: Any) -> Any:
        """Speak to the proxy behind the controller's back."""
        token = (self.data / "control.token").read_text().strip()
        url = f"http://127.0.0.1:{self.media_port}/control/v1{path}"
        async with self.http.request(method, url, headers={"Authorization": f"Bearer {token}"}, **kwargs) as response:
            return await response.json(content_type=None)

    # MQTT

    @asynccontextmanager
    async def source(self, **kwargs: Any) -> AsyncIterator[aiomqtt.Client]:
        async with aiomqtt.Client("127.0.0.1", self.mqtt_port, **kwargs) as client:
            yield client

    async def publish(self, topic: str, payload: Any, **kwargs: Any) -> None:
        async with self.source() as client:
            await client.publish(f"{PREFIX}/{topic}", encode(payload), qos=1, **kwargs)

    # Processes

    def processes(self) -> dict[str, psutil.Process]:
        """Return the processes of this machine by what ``ps`` shows."""
        assert self._process is not None
        named: dict[str, psutil.Process] = {}
        for child in psutil.Process(self._process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie is one, too
                named[" ".join(child.cmdline()).strip()] = child
        return named

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        process = self.processes()[name]
        process.send_signal(number)
        return process.pid

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def start(self) -> None:
        broker = (
            ("--mqtt", f"127.0.0.1:{self.mqtt_port}")
            if self._has_own_broker
            else ("--mqtt-url", f"mqtt://127.0.0.1:{self.mqtt_port}")
        )
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(PENSTOCK),
                "serve",
                *("--data", str(self.data)),
                *("--http", f"127.0.0.1:{self.http_port}"),
                *("--media", f"127.0.0.1:{self.media_port}"),
                *broker,
                stdout=log,
                stderr=log,
                env={**os.environ, "PENSTOCK_LOG_FORMAT": "json", **self._environment},
            )
        self._http = aiohttp.ClientSession()
        await until(self._is_ready, START_SECONDS)

    async def stop(self) -> float:
        """End it with SIGTERM; return how many seconds that took."""
        began = time.monotonic()
        if self._http is not None:
            await self._http.close()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                await self._process.wait()
        return time.monotonic() - began

    async def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log_path.read_text()
        try:
            async with self.http.get(f"http://127.0.0.1:{self.http_port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def encode(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


async def until(condition: Callable[[], Any], seconds: float = 10, every: float = 0.05) -> Any:
    """Wait until a condition (sync or async) holds; return what it gave."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < end, f"not within {seconds} s"
        await asyncio.sleep(every)


@asynccontextmanager
async def machine(
    data: Path, *, mqtt_port: int | None = None, environment: dict[str, str] | None = None
) -> AsyncIterator[Machine]:
    """Run a machine for a while, with the embedded broker unless another one's port is given."""
    started = Machine(
        data, mqtt_port or free_port(), has_own_broker=mqtt_port is None, environment=dict(environment or {})
    )
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
