"""The control API's endpoints: parse, ask the registry, render. Every decision is the registry's.

The paths and their meaning stand in ``proxy.contract``.
"""

import re
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from proxy.contract import LINES, EnsureOutcome, EnsureRequest, StopOutcome, StopRequest, SyncedRequest, to_lines
from proxy.control import guard
from proxy.control.watch import Watch
from proxy.registry import Registry

BODY_BYTES_MAX: Final = 256 * 1024
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")
NOT_STORED: Final = {"Cache-Control": "no-store"}
ENSURE_STATUSES: Final = {
    EnsureOutcome.STARTED: 200,
    EnsureOutcome.REPLACED: 200,
    EnsureOutcome.UNCHANGED: 200,
    EnsureOutcome.SPEC_CONFLICT: 409,
    EnsureOutcome.NEWER_EXISTS: 409,
    EnsureOutcome.STALE_TOKEN: 409,
    EnsureOutcome.REFUSED: 409,
    EnsureOutcome.WRONG_BOOT: 412,
}
STOP_STATUSES: Final = {
    StopOutcome.STOPPED: 200,
    StopOutcome.NOT_FOUND: 200,
    StopOutcome.NEWER_EXISTS: 200,
    StopOutcome.STALE_TOKEN: 409,
    StopOutcome.WRONG_BOOT: 412,
}


def application(registry: Registry, token: str | None) -> web.Application:
    """Return the control API, to be mounted below ``contract.PREFIX``."""
    control = Control(registry)
    watch = Watch(registry)
    app = web.Application(middlewares=[guard.problems, guard.authentication(token)])
    app.add_routes(
        [
            web.get("/sessions", control.list_sessions),
            web.get("/sessions/watch", watch.handle),
            web.put("/sessions/{stream_id}", control.ensure),
            web.delete("/sessions/{stream_id}", control.stop),
            web.post("/synced", control.mark_synced),
            web.get("/viewers", control.list_viewers),
            web.delete("/viewers/{viewer_id}", control.kick),
        ]
    )
    app.on_shutdown.append(watch.close)
    return app


class Control:
    """The handlers of one application."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def list_sessions(self, request: web.Request) -> web.Response:
        listed = self._registry.listing()
        if LINES not in request.headers.get("Accept", ""):
            return _render(listed)
        return web.Response(body=to_lines(listed), content_type=LINES, headers=NOT_STORED)

    async def ensure(self, request: web.Request) -> web.Response:
        stream_id = _stream_id(request)
        command = EnsureRequest.model_validate_json(await _body(request))
        reply = self._registry.ensure(stream_id, command)
        return _render(reply, ENSURE_STATUSES[reply.outcome])

    async def stop(self, request: web.Request) -> web.Response:
        stream_id = _stream_id(request)
        command = StopRequest.model_validate(dict(request.query))
        reply = self._registry.stop(stream_id, command)
        return _render(reply, STOP_STATUSES[reply.outcome])

    async def mark_synced(self, request: web.Request) -> web.Response:
        fault, reply = self._registry.mark_synced(SyncedRequest.model_validate_json(await _body(request)))
        statuses = {None: 200, "stale_token": 409, "wrong_boot": 412}
        return _render(reply, statuses[fault])

    async def list_viewers(self, _request: web.Request) -> web.Response:
        return _render(self._registry.viewers())

    async def kick(self, request: web.Request) -> web.StreamResponse:
        if not self._registry.kick(request.match_info["viewer_id"]):
            raise web.HTTPNotFound
        return web.Response(status=204)


def _stream_id(request: web.Request) -> str:
    stream_id = request.match_info["stream_id"]
    if not ID_PATTERN.fullmatch(stream_id):
        raise web.HTTPBadRequest(reason="this is no stream id")
    return stream_id


async def _body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="the body must be application/json")
    return await request.read()


def _render(answer: BaseModel, status: int = 200) -> web.Response:
    return web.Response(
        text=answer.model_dump_json(),
        status=status,
        content_type="application/json",
        headers=NOT_STORED,
    )
