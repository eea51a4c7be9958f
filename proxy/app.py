"""The composition root: builds every object of the proxy, names its long-lived tasks, and ends them in order.

Shutdown, on SIGTERM or SIGINT, within GOODBYE_SECONDS:

1. refuse new sessions (``draining``), stop all sessions: their upstreams close, their viewers get their end;
2. wait until their tasks and feeds are gone;
3. close the server: no new connections, watchers end, handlers that are left are cancelled;
4. end the pump.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import uvloop
from aiohttp import web

from proxy import control, heap, publish, serve, telemetry
from proxy.contract import PREFIX
from proxy.control.routes import BODY_BYTES_MAX
from proxy.core.feed import Feed
from proxy.core.rota import Backoff
from proxy.errors import AddressTakenError
from proxy.huge_pages import HugePages
from proxy.publish import PublishPolicy
from proxy.registry import Identity, Registry
from proxy.segments import MemfdSegment
from proxy.session import SessionLimits, SessionPorts, ViewerGauge
from proxy.settings import Address, Settings
from proxy.upstream import kinds
from proxy.upstream.datagrams import DatagramPolicy
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.ffmpeg import FfmpegPolicy
from proxy.upstream.kinds import LocalPolicy
from proxy.upstream.ports import PullLimits, PullPorts
from proxy.upstream.resolver import Resolver
from proxy.upstream.slots import Slots

SESSIONS_GOODBYE_SECONDS: Final = 2.0
HANDLERS_GOODBYE_SECONDS: Final = 1.5
BACKLOG: Final = 1024
EXIT_REFUSED: Final = 2
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)


def main(settings: Settings) -> int:
    """Run a proxy to its end; return the exit code."""
    telemetry.configure(settings.log_format, settings.log_level)
    heap.keep_freed_memory()
    try:
        sockets = bind(settings.http)
    except AddressTakenError as error:
        print(f"penstock proxy: {error}", file=sys.stderr)  # noqa: T201 - said to whoever started it, not logged
        return EXIT_REFUSED
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, sockets))
    return 0


async def run(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Serve on bound sockets until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Not by the loop's own handlers: the loop takes them down where it closes, and a second signal would kill.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    policy = http_policy(settings)
    registry = build_registry(settings, policy)
    pump = serve.Pump()
    server = web.AppRunner(
        build_web(settings, registry, pump),
        handler_cancellation=True,  # without it a handler outlives its viewer
        shutdown_timeout=HANDLERS_GOODBYE_SECONDS,
    )
    async with asyncio.TaskGroup() as pillars:
        pumping = pillars.create_task(pump.run(), name="pump")
        registering = pillars.create_task(registry.run(), name="registry")
        listening = await listen(server, sockets)
        log.info("proxy.started", address=str(settings.http), boot_id=registry.identity.boot_id)
        await stop.wait()
        log.info("proxy.stopping", sessions=len(registry.sessions()))
        registry.close()  # 1
        await asyncio.wait([registering], timeout=SESSIONS_GOODBYE_SECONDS)  # 2
        for listener in listening:  # 3
            listener.close()
        await server.cleanup()
        pumping.cancel()  # 4
        registering.cancel()
    log.info("proxy.stopped")
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def bind(address: Address) -> list[socket.socket]:
    """Take the address; raise AddressTakenError when it is not to be had."""
    sockets: list[socket.socket] = []
    try:
        for family, kind, number, _, place in socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, number)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(place)
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise AddressTakenError(str(address), error.strerror or str(error)) from None
    return sockets


async def listen(server: web.AppRunner, sockets: Sequence[socket.socket]) -> Sequence[asyncio.Server]:
    await server.setup()
    loop, connect = asyncio.get_running_loop(), partial(serve.connect, server)
    return [await loop.create_server(connect, sock=sock, backlog=BACKLOG) for sock in sockets]


def build_web(settings: Settings, registry: Registry, pump: serve.Pump) -> web.Application:
    """Everything that is answered over HTTP: viewers at the top, the controller below its prefix."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    serve.mount(
        app, registry, pump, rule=slow_rule(settings), burst_limits=burst_limits(settings), ffmpeg=settings.ffmpeg
    )
    app.add_routes(publish.routes(registry, PublishPolicy(settings.publish_secret, settings.http.is_loopback)))
    app.add_routes(control.health_routes(registry, pump.dropped))
    app.add_subapp(PREFIX, control.application(registry, settings.control_secret))
    return app


def build_registry(settings: Settings, policy: HttpPolicy) -> Registry:
    local = local_policy(settings)
    ports = SessionPorts(
        new_feed=partial(_new_feed, settings, HugePages()),
        pulling=PullPorts(
            open_upstream=kinds.opener(policy, Resolver(guarded=policy.guarded), local),
            slots=Slots(settings.host_connections_max),
            limits=pull_limits(settings),
        ),
        backoff=Backoff(shortest=settings.backoff_min_seconds, longest=settings.backoff_max_seconds),
        gauge=ViewerGauge(limit=settings.viewers_max),
        limits=session_limits(settings),
        now=asyncio.get_running_loop().time,
    )
    return Registry(
        Identity.fresh(settings.id, settings.viewers_url),
        ports,
        sessions_max=settings.sessions_max,
        admit=partial(kinds.check, policy=policy, local=local),
    )


def _new_feed(settings: Settings, huge_pages: HugePages, number: int) -> Feed:
    return Feed(
        ring_bytes_max=settings.ring_bytes,
        new_segment=partial(MemfdSegment, huge_pages=huge_pages),
        hls=True,  # always indexed, so that a session may be given HLS while it runs
        segment_seconds=settings.hls_segment_seconds,
        window_segments=settings.hls_window_segments,
        discontinuities=number,
    )


def http_policy(settings: Settings) -> HttpPolicy:
    return HttpPolicy(
        connect_timeout_seconds=settings.connect_timeout_seconds,
        read_timeout_seconds=2 * settings.silence_seconds,  # below the pull's own watch over silence
        guarded=not settings.upstream_link_local,
    )


def local_policy(settings: Settings) -> LocalPolicy:
    return LocalPolicy(
        datagram=DatagramPolicy(interface=settings.multicast_interface, buffer_bytes=settings.datagram_buffer_bytes),
        ffmpeg=FfmpegPolicy(program=settings.ffmpeg, files_dir=settings.files_dir),
        may_publish=settings.publish_token is not None or settings.http.is_loopback,
    )


def session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        linger_seconds=settings.linger_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        stall_seconds=settings.stall_seconds,
        give_up_seconds=settings.give_up_seconds,
    )


def slow_rule(settings: Settings) -> serve.SlowRule:
    return serve.SlowRule(
        lag_bytes_max=settings.slow_lag_bytes,
        patience_seconds=settings.slow_patience_seconds,
        moves_max=settings.slow_moves_max,
    )


def burst_limits(settings: Settings) -> serve.BurstLimits:
    return serve.BurstLimits(
        seconds_max=settings.burst_seconds_max, bytes_max=settings.slow_lag_bytes // serve.LAG_SHARE
    )


def pull_limits(settings: Settings) -> PullLimits:
    return PullLimits(
        open_seconds=0.9 * settings.start_timeout_seconds,  # so that a viewer hears why, not only that
        silence_seconds=settings.silence_seconds,
        stall_seconds=settings.stall_seconds,
    )
