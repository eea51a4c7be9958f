"""The viewers' HTTP doors, for the application to mount, and the connections that lead to them."""

import asyncio
from functools import partial
from typing import Final

from aiohttp import web

from proxy.registry import Registry
from proxy.serve.answers import guarded, preflight
from proxy.serve.audience import Audience
from proxy.serve.burst import BurstLimits
from proxy.serve.client import SlowRule
from proxy.serve.connection import Connection
from proxy.serve.hls import HlsDoor
from proxy.serve.pump import Pump
from proxy.serve.shortcut import Shortcut
from proxy.serve.thumb import Snapshots, ThumbDoor, encode
from proxy.serve.ts import TsDoor

_SHORTCUT: Final = web.AppKey("shortcut", Shortcut)
_TS = "/ts/{key}"
_PLAYLIST = "/hls/{key}/index.m3u8"
_SEGMENT = "/hls/{key}/{segment}"
_THUMB = "/thumb/{key}.jpg"


def mount(
    app: web.Application,
    registry: Registry,
    pump: Pump,
    *,
    rule: SlowRule | None = None,
    burst_limits: BurstLimits | None = None,
    ffmpeg: str = "ffmpeg",
) -> None:
    """Add the routes for viewers; ``pump.run()`` has to run while they are served. In a running loop."""
    audience = Audience()
    pump.sweep_with(audience.sweep)
    ts = TsDoor(registry, pump, rule or SlowRule(), burst_limits or BurstLimits())
    hls = HlsDoor(registry, audience)
    snapshots = Snapshots(partial(encode, program=ffmpeg), asyncio.get_running_loop().time)
    pump.sweep_with(snapshots.sweep)
    thumb = ThumbDoor(registry, snapshots)
    app[_SHORTCUT] = Shortcut(registry, audience)
    app.add_routes([
        web.get(_TS, guarded(ts.watch), allow_head=False),
        web.head(_TS, guarded(ts.look)),
        web.options(_TS, preflight),
        web.get(_PLAYLIST, guarded(hls.playlist), allow_head=False),
        web.head(_PLAYLIST, guarded(hls.look)),
        web.options(_PLAYLIST, preflight),
        web.get(_SEGMENT, guarded(hls.segment), allow_head=False),
        web.head(_SEGMENT, guarded(hls.look_at_segment)),
        web.options(_SEGMENT, preflight),
        web.get(_THUMB, guarded(thumb.show)),
        web.options(_THUMB, preflight),
    ])  # fmt: skip


def connect(runner: web.AppRunner) -> Connection:
    """Return the protocol of a new connection to an application with these routes, which has been set up."""
    assert runner.server is not None
    return Connection(runner.server, runner.app[_SHORTCUT])
