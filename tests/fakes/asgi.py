"""A client for ASGI applications: real requests through the real application, without a socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, app: Any, host: str = "localhost", token: str | None = None) -> None:
        self.app = app
        self.host = host
        self.token = token

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, headers=headers)

    async def post(self, path: str, document: Any = None, **headers: str) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        return await self.request("POST", path, body=body, headers=headers)

    async def put(self, path: str, document: Any, **headers: str) -> Answer:
        return await self.request("PUT", path, body=json.dumps(document).encode(), headers=headers)

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.request("DELETE", path, headers=headers)

    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        answer = Answer()

        async def send(message: Any) -> None:
            _take(answer, message)

        await self.app(self._scope(method, path, body, headers or {}), _receiver(body), send)
        return answer

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator["Streaming"]:
        """Follow an endless answer; leaving the block is a client that goes away."""
        streaming = Streaming()
        async with asyncio.TaskGroup() as group:
            scope = self._scope("GET", path, b"", headers)
            task = group.create_task(self.app(scope, streaming.receive, streaming.send))
            task.add_done_callback(lambda _: streaming.ended.set())
            try:
                yield streaming
            finally:
                streaming.gone.set()

    def _scope(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        parts = urlsplit(path)
        sent = {"host": self.host, **{name.replace("_", "-").lower(): value for name, value in headers.items()}}
        if body:
            sent = {"content-type": "application/json", "content-length": str(len(body)), **sent}
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": (self.host, 80),
        }


class Streaming:
    """One answer that goes on."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.gone = asyncio.Event()
        self.ended = asyncio.Event()
        self._came = asyncio.Condition()
        self._is_asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        async with self._came:
            _take(self.answer, message)
            self._came.notify_all()

    async def until(self, text: str, seconds: float = 5.0) -> str:
        """Wait until a text has come; return everything so far."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: text.encode() in self.answer.body)
        return self.answer.body.decode()


def _receiver(body: bytes) -> Any:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _take(answer: Answer, message: Any) -> None:
    if message["type"] == "http.response.start":
        answer.status = message["status"]
        answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
    else:
        answer.body += message.get("body", b"")
