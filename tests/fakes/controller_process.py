"""Controllers as processes of their own, as a cluster runs them: several on one database and one broker."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.fakes.ports import free_port

ANSWER_SECONDS = 20.0
END_SECONDS = 20.0


class Controller:
    """One of them. It is told everything by its environment."""

    def __init__(self, name: str, home: Path, settings: dict[str, str]) -> None:
        self.name = name
        self.log_path = home / f"{name}.log"
        self._port = free_port()
        outside = {key: value for key, value in os.environ.items() if not key.startswith("PENSTOCK_")}
        own = {
            "PENSTOCK_CONTROLLER_NAME": name,
            "PENSTOCK_DATA_DIR": str(home),
            "PENSTOCK_HTTP": f"127.0.0.1:{self._port}",
            "PENSTOCK_LOG_FORMAT": "json",
        }
        self._environment = outside | own | settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "controller", "controller", env=self._environment, stdout=log, stderr=log
            )

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(END_SECONDS):
            return await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.request(method, f"http://127.0.0.1:{self._port}{path}", json=body) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def ready(self) -> dict[str, Any]:
        """Return what it says of itself; nothing while it does not answer."""
        try:
            _, answer = await self.ask("GET", "/readyz")
        except (aiohttp.ClientError, TimeoutError):
            return {}
        return dict(answer)

    async def leads(self) -> bool:
        found = await self.ready()
        return bool(found.get("is_leader") and found.get("ready"))

    async def stands_by(self) -> bool:
        found = await self.ready()
        return bool(found.get("ready")) and not found["is_leader"]

    async def states(self) -> dict[str, str]:
        """Return the state of every stream that is not CLOSED, by key."""
        _, answer = await self.ask("GET", "/streams")
        return {stream["key"]: stream["state"] for stream in answer["items"]}

    @asynccontextmanager
    async def following(self) -> AsyncIterator[aiohttp.StreamReader]:
        """Follow what happens, as a page does."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"Accept": "text/event-stream"}) as http,
            http.get(f"http://127.0.0.1:{self._port}/events") as response,
        ):
            yield response.content

    def events(self) -> list[dict[str, Any]]:
        lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]


@asynccontextmanager
async def controllers(home: Path, *names: str, **settings: str) -> AsyncIterator[list[Controller]]:
    """Make controllers, which the caller starts; whatever still runs at the end is killed."""
    environment = {f"PENSTOCK_{name.upper()}": value for name, value in settings.items()}
    made = [Controller(name, home, environment) for name in names]
    try:
        yield made
    finally:
        for controller in made:
            await controller.stop()
