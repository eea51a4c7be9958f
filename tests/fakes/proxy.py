"""A proxy without media: speaks the control API, fences and all, in this process. Held to ``tests/contract``.

Knobs: ``unreachable`` (connections are closed without an answer), ``forget()`` (a restart), ``inject()`` (a session
that nobody ordered), ``flow()`` and ``finish()`` (what its upstream does).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from pydantic import ValidationError

from proxy import contract
from tests.fakes.proxy_control import FakeControl


@dataclass
class FakeProxy(FakeControl):
    token: str = "secret"
    unreachable: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.unreachable:
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(401)
        path = request.path.removeprefix(contract.PREFIX + "/")
        if (request.method, path) == ("GET", "sessions/watch"):
            return await self._watch(request)
        try:
            status, answer = self.control(request.method, path, await request.read(), request.query)
        except ValidationError:
            return _problem(400)
        if isinstance(answer, contract.SessionList) and contract.LINES in request.headers.get("Accept", ""):
            return web.Response(body=contract.to_lines(answer), content_type=contract.LINES)
        return _problem(status) if isinstance(answer, contract.Problem) else _json(answer, status)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        bell: asyncio.Queue[str] = asyncio.Queue()
        self.bells.append(bell)
        try:
            keys: tuple[str, ...] = ()
            while True:
                change = contract.Change(boot_id=self.boot_id, sequence=self.sequence, keys=keys)
                await response.write(change.model_dump_json().encode() + b"\n")
                keys = (await bell.get(),)
        finally:
            self.bells.remove(bell)


def _json(answer: contract.Wire, status: int = 200) -> web.Response:
    return web.Response(text=answer.model_dump_json(), status=status, content_type="application/json")


def _problem(status: int) -> web.Response:
    body = contract.Problem(title="refused", status=status).model_dump_json()
    return web.Response(text=body, status=status, content_type="application/problem+json")


@asynccontextmanager
async def fake_proxy(proxy_id: str = "fake", *, token: str) -> AsyncIterator[FakeProxy]:
    """Serve on a free port of loopback; its ``url`` says which."""
    proxy = FakeProxy(proxy_id=proxy_id, token=token)
    app = web.Application()
    app.router.add_route("*", contract.PREFIX + "/{tail:.*}", proxy.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield proxy
    finally:
        await runner.cleanup()
