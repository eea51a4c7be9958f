"""What can happen to the parts, each with its undoing, and the order that a seed makes of it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random

from tests.chaos.world import CONTROLLERS, LEASE_SECONDS, PROXIES, World

Blow = Callable[[World, Random], AbstractAsyncContextManager[str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a world; ``blow`` is undone where its block ends."""

    name: str
    blow: Blow
    seconds: float = 0.0
    """How long it lasts."""
    forgets: bool = False
    """Whether the broker may lose what it has confirmed."""
    is_rare: bool = False
    """Comes after the others in each round."""
    obstacle: Callable[[World], str] = lambda _world: ""
    """Why this world cannot have it; empty: it can."""


async def _a_leader(world: World, random: Random) -> str:
    leaders = await world.leaders()
    return leaders[0] if leaders else random.choice(CONTROLLERS)


@asynccontextmanager
async def _kill_leader(world: World, random: Random) -> AsyncIterator[str]:
    yield _kill(world, await _a_leader(world, random))


@asynccontextmanager
async def _kill_standby(world: World, random: Random) -> AsyncIterator[str]:
    leader = await _a_leader(world, random)
    yield _kill(world, next(name for name in CONTROLLERS if name != leader))


@asynccontextmanager
async def _kill_proxy(world: World, random: Random) -> AsyncIterator[str]:
    yield _kill(world, random.choice(PROXIES))


def _killer(name: str) -> Blow:
    @asynccontextmanager
    async def kill(world: World, _random: Random) -> AsyncIterator[str]:
        yield _kill(world, name)

    return kill


def _kill(world: World, name: str) -> str:
    return name if world.parts[name].send_signal(signal.SIGKILL) else f"{name}, which was down"


@asynccontextmanager
async def _freeze_leader(world: World, random: Random) -> AsyncIterator[str]:
    part = world.parts[await _a_leader(world, random)]
    pid = part.pid
    part.send_signal(signal.SIGSTOP)
    try:
        yield part.name
    finally:
        if part.pid == pid:  # else somebody killed it meanwhile
            part.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _freeze_proxy(world: World, random: Random) -> AsyncIterator[str]:
    part = world.parts[random.choice(PROXIES)]
    pid = part.pid
    part.send_signal(signal.SIGSTOP)
    try:
        yield part.name
    finally:
        if part.pid == pid:
            part.send_signal(signal.SIGCONT)


def _restarter(name: str, goodbye: signal.Signals, *, files: str = "") -> Blow:
    """Stop a part properly, keep it down for a while, and let it come again, without those ``files`` of its."""

    @asynccontextmanager
    async def restart(world: World, _random: Random) -> AsyncIterator[str]:
        part = world.parts[name]
        part.may_run.clear()
        try:
            part.send_signal(goodbye)
            await part.is_down()
            for path in world.broker_home.glob(files) if files else ():
                path.unlink()
            yield name
        finally:
            part.may_run.set()

    return restart


@asynccontextmanager
async def _fill_disk(world: World, _random: Random) -> AsyncIterator[str]:
    try:
        yield f"{await asyncio.to_thread(world.disk.fill)} bytes were free"
    finally:
        world.disk.clear()


def _cutter(choose: Callable[[World, Random], Awaitable[str]]) -> Blow:
    @asynccontextmanager
    async def cut(world: World, random: Random) -> AsyncIterator[str]:
        name = await choose(world, random)
        plug = world.network.of(name)
        await asyncio.to_thread(plug.pull)
        try:
            yield name
        finally:
            await asyncio.to_thread(plug.push)

    return cut


def _always(name: str) -> Callable[[World, Random], Awaitable[str]]:
    async def choose(_world: World, _random: Random) -> str:
        return name

    return choose


def _without_postgres(world: World) -> str:
    return "" if world.kind == "postgres" else "the database is a file"


def _without_network(world: World) -> str:
    return world.network.reason


FAULTS = (
    Fault("kill -9 of the leader", _kill_leader),
    Fault("kill -9 of the standby", _kill_standby),
    Fault("kill -9 of a proxy", _kill_proxy),
    Fault("kill -9 of the broker", _killer("broker"), forgets=True),
    Fault("kill -9 of Postgres", _killer("postgres"), obstacle=_without_postgres),
    Fault("leader stopped past its lease", _freeze_leader, seconds=LEASE_SECONDS + 1.5),
    Fault("broker restarted", _restarter("broker", signal.SIGTERM), seconds=0.5),
    Fault(
        "broker restarted without its files",
        _restarter("broker", signal.SIGTERM, files="*.db*"),
        seconds=0.5,
        forgets=True,
    ),
    Fault("Postgres restarted", _restarter("postgres", signal.SIGINT), seconds=1.0, obstacle=_without_postgres),
    Fault("kill -9 of the upstream", _killer("upstream"), is_rare=True),
    Fault("kill -9 of the encoder", _killer("encoder"), is_rare=True),
    Fault("full disk", _fill_disk, seconds=3.0, is_rare=True, obstacle=lambda world: world.disk.reason),
    Fault("leader cut off", _cutter(_a_leader), seconds=LEASE_SECONDS + 1.0, obstacle=_without_network),
    Fault("proxy cut off", _cutter(_always(PROXIES[-1])), seconds=4.0, is_rare=True, obstacle=_without_network),
    Fault("broker cut off", _cutter(_always("broker")), seconds=4.0, is_rare=True, obstacle=_without_network),
    Fault(
        "database cut off",
        _cutter(_always("postgres")),
        seconds=4.0,
        is_rare=True,
        obstacle=lambda world: _without_postgres(world) or _without_network(world),
    ),
    Fault("proxy stopped", _freeze_proxy, seconds=4.0, is_rare=True),
)


def deal(faults: tuple[Fault, ...], random: Random) -> Iterator[Fault]:
    """Yield faults for ever: each once, in a new order, before any comes again; the rare ones last."""
    while True:
        yield from sorted(random.sample(faults, len(faults)), key=lambda fault: fault.is_rare)
