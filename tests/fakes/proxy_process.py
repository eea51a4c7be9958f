"""The proxy as a process of its own, and the control API to tell it what to run."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import aiohttp

from proxy import contract
from proxy.contract import EnsureReply, EnsureRequest, SessionSpec, SessionView, Upstream

TOKEN = "process-token"


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process gives no event
            await asyncio.sleep(0.05)


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def spawn(log: BinaryIO | int = asyncio.subprocess.PIPE, **changed: str) -> asyncio.subprocess.Process:
    environment = os.environ | {f"PENSTOCK_PROXY_{name}": value for name, value in changed.items()}
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "proxy", env=environment, stderr=log)


@dataclass
class Proxy:
    url: str
    pid: int
    http: aiohttp.ClientSession
    boot_id: str = ""
    log: bytes = b""

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def answers(self) -> bool:
        try:
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def list(self) -> contract.SessionList:
        async with self.http.get(f"{self.url}{contract.PREFIX}/sessions") as answer:
            return contract.SessionList.model_validate_json(await answer.text())

    async def view(self, key: str = "cam") -> SessionView:
        return next(view for view in (await self.list()).sessions if view.key == key)

    async def ensure(self, *urls: str, key: str = "cam", epoch: int = 1, generation: int = 1, **fields: object) -> str:
        spec = SessionSpec.model_validate({"key": key, "upstreams": [Upstream(url=url) for url in urls], **fields})
        request = EnsureRequest(epoch=epoch, generation=generation, boot_id=self.boot_id, token=1, spec=spec)
        async with self.http.put(
            f"{self.url}{contract.PREFIX}/sessions/s-{key}",
            data=request.model_dump_json(),
            headers={"Content-Type": "application/json"},
        ) as answer:
            return EnsureReply.model_validate_json(await answer.text()).outcome

    async def stop(self, key: str = "cam", epoch: int = 1, generation: int = 1) -> None:
        query = {"key": key, "epoch": epoch, "generation": generation, "boot_id": self.boot_id, "token": 1}
        async with self.http.delete(f"{self.url}{contract.PREFIX}/sessions/s-{key}", params=query) as answer:
            assert answer.status == 200


@asynccontextmanager
async def real_proxy(exit_code: int = 0, **changed: str) -> AsyncIterator[Proxy]:
    port = unused_port()
    with TemporaryFile() as log:
        process = await spawn(log, HTTP=f"127.0.0.1:{port}", CONTROL_TOKEN=TOKEN, LOG_FORMAT="json", **changed)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            proxy = Proxy(f"http://127.0.0.1:{port}", process.pid, http)
            try:
                await until(proxy.answers, 30)
                proxy.boot_id = (await proxy.list()).boot_id
                yield proxy
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(5):
                    await process.wait()
        log.seek(0)
        proxy.log = log.read()
    assert process.returncode == exit_code
    assert b"Traceback" not in proxy.log
