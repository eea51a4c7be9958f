"""Readers that do what a URL says, in loop time: upstreams without a network."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from proxy.contract import Upstream
from proxy.core.mpegts import NULL_PACKET
from proxy.errors import UpstreamAnswerError, UpstreamLostError
from proxy.upstream import demo
from proxy.upstream.items import Reader

SLICE_SECONDS = 0.1


@dataclass
class FakeUpstreams:
    """``kind:name``, or ``kind://host/name``, does: flow, silent, missing (404), busy (503), html, trickle (junk, slowly), late (404 twice, then flow),
    brief (1 s, then a clean end), drop (1 s, then lost), stall (1 s, then silence), poor (packets, but no picture), slow (4 s, then flow), half-minute (32 s, then
    a clean end), broken (a fault of the reader itself), script
    (what ``scripts`` says for this URL, attempt by attempt, the last of it again and again)."""

    opened: Counter[str] = field(default_factory=Counter)
    open_now: int = 0
    open_most: int = 0
    open_names: list[str] = field(default_factory=list)
    scripts: dict[str, list[str]] = field(default_factory=dict)

    async def open(self, upstream: Upstream) -> Reader:
        self.opened[upstream.url] += 1
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        self.open_names.append(upstream.url)
        try:
            async for chunk in self._do(self._kind(upstream.url), self.opened[upstream.url]):
                yield chunk
        finally:
            self.open_now -= 1
            self.open_names.remove(upstream.url)

    def _kind(self, url: str) -> str:
        script = self.scripts.get(url)
        return url.partition(":")[0] if script is None else script[min(self.opened[url], len(script)) - 1]

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
            case "poor":
                while True:
                    yield NULL_PACKET * 8
                    await asyncio.sleep(SLICE_SECONDS)
            case "silent":
                await asyncio.Event().wait()
            case _:
                if kind == "slow":
                    await asyncio.sleep(4)
                seconds = {"flow": None, "demo": None, "slow": None, "half-minute": 32.0}.get(kind, 1.0)
                async for chunk in _media(seconds):
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
