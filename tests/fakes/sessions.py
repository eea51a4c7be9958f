"""A registry on fake upstreams and plain memory, and what tests say to it."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from proxy.contract import EnsureReply, EnsureRequest, Output, SessionSpec, StopReply, StopRequest, Upstream
from proxy.core.feed import Feed
from proxy.core.rota import Backoff
from proxy.registry import Identity, Registry
from proxy.session import SessionLimits, SessionPorts, Viewer, ViewerGauge
from proxy.upstream.ports import PullLimits, PullPorts
from proxy.upstream.slots import Slots
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.readers import FakeUpstreams

BOOT = "boot-1"


def spec(key: str = "cam", *urls: str, **fields: object) -> SessionSpec:
    """What a session is to run. Fake upstreams play a short clip again and again, so that is allowed."""
    upstreams = tuple(Upstream(url=url) for url in urls or ("flow:a",))
    return SessionSpec.model_validate({"key": key, "upstreams": upstreams, "loop": "allow", **fields})


def limited(key: str, *urls: str, connections_max: int = 1, **fields: object) -> SessionSpec:
    """As ``spec``, of hosts that give so many connections."""
    upstreams = tuple(Upstream(url=url, connections_max=connections_max) for url in urls)
    return SessionSpec.model_validate({"key": key, "upstreams": upstreams, "loop": "allow", **fields})


def new_feed(number: int) -> Feed:
    return Feed(ring_bytes_max=4 * 1024 * 1024, new_segment=MemorySegment, hls=True, discontinuities=number)


def viewer(name: str = "v1", protocol: Output = Output.TS) -> Viewer:
    return Viewer(name, protocol, "127.0.0.1", "test", since=0.0)


@dataclass
class World:
    registry: Registry
    upstreams: FakeUpstreams
    gauge: ViewerGauge

    def ensure(
        self, wished: SessionSpec, epoch: int = 1, generation: int = 1, *, stream: str = "s1", token: int = 1
    ) -> EnsureReply:
        request = EnsureRequest(epoch=epoch, generation=generation, boot_id=BOOT, token=token, spec=wished)
        return self.registry.ensure(stream, request)

    def stop(
        self, key: str = "cam", epoch: int = 1, generation: int = 1, *, stream: str = "s1", token: int = 1
    ) -> StopReply:
        request = StopRequest(key=key, epoch=epoch, generation=generation, boot_id=BOOT, token=token)
        return self.registry.stop(stream, request)


def build(*, limits: SessionLimits | None = None, sessions_max: int = 100, viewers_max: int = 100,
          host_connections_max: int = 0,
          admit: Callable[[SessionSpec], None] = lambda _spec: None) -> World:  # fmt: skip
    upstreams = FakeUpstreams()
    gauge = ViewerGauge(viewers_max)
    ports = SessionPorts(
        new_feed=new_feed,
        pulling=PullPorts(open_upstream=upstreams.open, slots=Slots(host_connections_max), limits=PullLimits()),
        backoff=Backoff(),
        gauge=gauge,
        limits=limits or SessionLimits(),
        now=asyncio.get_running_loop().time,
    )
    identity = Identity("proxy-1", "http://proxy-1", BOOT)
    return World(Registry(identity, ports, sessions_max=sessions_max, admit=admit), upstreams, gauge)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """Run the registry around a test, and expect that nothing is left of it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(world.registry.run())
        await asyncio.sleep(0)
        try:
            yield world
        finally:
            world.registry.close()
    assert world.upstreams.open_now == 0


def in_world(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Give the test a running ``world`` inside its own virtual time (a fixture would be made in real time)."""

    @functools.wraps(test)
    async def wrapped(**arguments: object) -> None:
        before = MemorySegment.open_count
        async with running(build()) as world:
            await test(world=world, **arguments)
        assert MemorySegment.open_count == before

    signature = inspect.signature(test)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "world"]
    wrapped.__signature__ = signature.replace(parameters=kept)
    return wrapped
