"""Readers that do what a URL says, in loop time: upstreams without a network."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from proxy.contract import Upstream
from proxy.errors import UpstreamAnswerError, UpstreamLostError
from proxy.upstream import demo
from proxy.upstream.items import Reader

SLICE_SECONDS = 0.1


@dataclass
class FakeUpstreams:
    """``kind:name`` does: flow, silent, missing (404), busy (503), html, trickle (junk, slowly), late (404 twice, then flow),
    brief (1 s, then a clean end), drop (1 s, then lost), stall (1 s, then silence), broken (a fault of the reader itself)."""

    opened: Counter[str] = field(default_factory=Counter)
    open_now: int = 0
    open_most: int = 0
    open_names: list[str] = field(default_factory=list)

    async def open(self, upstream: Upstream) -> Reader:
        self.opened[upstream.url] += 1
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        self.open_names.append(upstream.url)
        try:
            async for chunk in self._do(upstream.url.partition(":")[0], self.opened[upstream.url]):
                yield chunk
        finally:
            self.open_now -= 1
            self.open_names.remove(upstream.url)

    async def _do(self, kind: str, attempt: int) -> Reader:
        if kind == "late":
            kind = "missing" if attempt <= 2 else "flow"
        match kind:
            case "missing":
                raise UpstreamAnswerError(404, "Not Found")
            case "busy":
                raise UpstreamAnswerError(503)
            case "broken":
                raise RuntimeError("a bug")
            case "html":
                yield b"<html>sorry</html>"
            case "trickle":
                while True:
                    yield b"junk" * 256
                    await asyncio.sleep(SLICE_SECONDS)
            case "silent":
                await asyncio.Event().wait()
            case _:
                async for chunk in _media(None if kind == "flow" else 1.0):
                    yield chunk
        if kind == "stall":
            await asyncio.Event().wait()
        if kind == "drop":
            raise UpstreamLostError("reset")


async def _media(seconds: float | None) -> Reader:
    clip = demo.load()
    passed = 0.0
    number = 0
    while True:
        content, start = clip.round(number), 0
        for piece in clip.slices:
            if seconds is not None and passed >= seconds:
                return
            yield content[start : piece.end]
            start = piece.end
            passed += SLICE_SECONDS
            await asyncio.sleep(SLICE_SECONDS)
        number += 1
