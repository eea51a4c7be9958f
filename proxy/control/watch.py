"""Tells the controller that something changed, one JSON object a line, for as long as it listens."""

import asyncio
from typing import Final

from aiohttp import web

from proxy.contract import Change
from proxy.registry import Registry

KEEPALIVE_SECONDS: Final = 5.0
WRITE_SECONDS_MAX: Final = 10.0
WATCHERS_MAX: Final = 16
GATHER_SECONDS: Final = 0.05
"""Changes that come together are told together."""


class Bell:
    """What has changed since it was last heard; coalesces, so its size is bounded by the number of keys."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._keys: dict[str, None] = {}

    def ring(self, key: str) -> None:
        self._keys[key] = None
        self._rung.set()

    def wake(self) -> None:
        self._rung.set()

    async def heard(self) -> tuple[str, ...]:
        """Return what changed, or nothing after KEEPALIVE_SECONDS."""
        try:
            async with asyncio.timeout(KEEPALIVE_SECONDS):
                await self._rung.wait()
                await asyncio.sleep(GATHER_SECONDS)
        except TimeoutError:
            return ()
        keys, self._keys = tuple(self._keys), {}
        self._rung.clear()
        return keys


class Watch:
    """All watchers of this proxy."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._bells: set[Bell] = set()
        self._closed = False

    async def close(self, _app: web.Application) -> None:
        """End every watcher's answer."""
        self._closed = True
        for bell in self._bells:
            bell.wake()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """GET /sessions/watch: the first line comes at once, and one at least every KEEPALIVE_SECONDS."""
        if len(self._bells) >= WATCHERS_MAX:
            raise web.HTTPServiceUnavailable(reason="too many watchers")
        bell = Bell()
        self._bells.add(bell)
        unlisten = self._registry.listen(bell.ring)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
            await response.prepare(request)
            await self._write(response, ())
            while not self._closed:
                await self._write(response, await bell.heard())
        finally:
            unlisten()
            self._bells.discard(bell)
        return response

    async def _write(self, response: web.StreamResponse, keys: tuple[str, ...]) -> None:
        change = Change(boot_id=self._registry.identity.boot_id, sequence=self._registry.sequence, keys=keys)
        async with asyncio.timeout(WRITE_SECONDS_MAX):
            await response.write(change.model_dump_json().encode() + b"\n")
