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
from proxy.contract import EnsureOutcome, StopOutcome
from tests.fakes.proxy_fences import FakeRegistry, Fence


@dataclass
class FakeProxy(FakeRegistry):
    proxy_id: str = "fake"
    token: str = "secret"
    url: str = ""
    unreachable: bool = False

    def _reply(self, held: Fence | None = None) -> dict[str, object]:
        return {"proxy_id": self.proxy_id, "boot_id": self.boot_id, "sequence": self.sequence,
                "token_highest": self.token_highest, "held_epoch": held[0] if held else None,
                "held_generation": held[1] if held else None}  # fmt: skip

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.unreachable:
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(401)
        try:
            return await self._route(request, request.path.removeprefix(contract.PREFIX + "/").split("/"))
        except ValidationError:
            return _problem(400)

    async def _route(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        match request.method, *parts:
            case "GET", "sessions":
                return _json(contract.SessionList.model_validate(
                    {"proxy_id": self.proxy_id, "boot_id": self.boot_id, "sequence": self.sequence,
                     "public_url": self.url, "token_highest": self.token_highest, "synced": self.synced,
                     "sessions": tuple(self.views.values())}))  # fmt: skip
            case "GET", "sessions", "watch":
                return await self._watch(request)
            case "PUT", "sessions", stream_id:
                ensured, held = self.ensure(stream_id, contract.EnsureRequest.model_validate_json(await request.read()))
                kept = (EnsureOutcome.STARTED, EnsureOutcome.REPLACED, EnsureOutcome.UNCHANGED)
                status = 200 if ensured in kept else 412 if ensured is EnsureOutcome.WRONG_BOOT else 409
                return _json(contract.EnsureReply.model_validate(self._reply(held) | {"outcome": ensured}), status)
            case "DELETE", "sessions", stream_id:
                stopped, held = self.stop(stream_id, contract.StopRequest.model_validate(dict(request.query)))
                status = {StopOutcome.WRONG_BOOT: 412, StopOutcome.STALE_TOKEN: 409}.get(stopped, 200)
                return _json(contract.StopReply.model_validate(self._reply(held) | {"outcome": stopped}), status)
            case "POST", "synced":
                asked = contract.SyncedRequest.model_validate_json(await request.read())
                guard = self.guard(asked.boot_id, asked.token)
                self.synced = self.synced or guard is None
                status = {None: 200, "wrong_boot": 412}.get(guard, 409)
                return _json(contract.CommandReply.model_validate(self._reply()), status)
            case "GET", "viewers":
                return _json(contract.ViewerList(proxy_id=self.proxy_id, boot_id=self.boot_id, items=()))
        return _problem(404)

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
