"""What goes wrong from outside, and when: the schedule of a world, thrown from its seed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between two faults of a kind, on average."""

    kill: float = 30.0
    freeze: float = 45.0
    partition: float = 30.0
    reboot: float = 35.0
    session_fails: float = 40.0
    broker: float = 70.0
    source: float = 40.0
    database: float = 80.0
    broker_partition: float = 60.0


INTERVALS = Intervals()


class Faults:
    """Breaks a world for a while, then repairs it."""

    def __init__(self, world: "World", intervals: Intervals) -> None:
        self._world = world
        self._chance = world.stage.chance
        self._intervals = intervals
        self._is_over = False

    async def run(self, seconds: float) -> None:
        wanted = self._intervals
        kinds: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (wanted.kill, self._kill), (wanted.freeze, self._freeze), (wanted.partition, self._partition),
            (wanted.reboot, self._reboot), (wanted.session_fails, self._fail), (wanted.broker, self._break_broker),
            (wanted.source, self._crash_source), (wanted.database, self._break_database),
            (wanted.broker_partition, self._cut_broker),
        ]  # fmt: skip
        tasks = [self._world.stage.loop.create_task(self._repeat(mean, fault)) for mean, fault in kinds]
        tasks.append(self._world.stage.loop.create_task(self._restore(seconds)))
        await asyncio.sleep(seconds)
        self._is_over = True
        for task in tasks:
            task.cancel()
        self._heal()

    async def _repeat(self, mean: float, fault: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._chance.interval(mean))
            await fault()

    def _tell(self, text: str) -> None:
        self._world.stage.story.tell("fault", text)

    # Controllers

    async def _kill(self) -> None:
        controller = self._pick_controller()
        if controller is not None:
            self._world.stage.crash(controller.process, "no particular place")

    async def _freeze(self) -> None:
        controller = self._pick_controller()
        if controller is None:
            return
        process, seconds = controller.process, self._chance.between(2.0, 15.0)
        self._tell(f"{process.name} stands still for {seconds:.1f} s")
        process.freeze()
        await asyncio.sleep(seconds)
        process.thaw()

    def _pick_controller(self):  # type: ignore[no-untyped-def]
        alive = [c for c in self._world.controllers.values() if c.process.is_alive and not c.process.is_frozen]
        return self._chance.dice.choice(alive) if alive else None

    # The network

    async def _partition(self) -> None:
        proxy = self._chance.dice.choice(self._world.fleet.proxies).proxy_id
        names = [name for name in self._world.names if self._chance.happens(0.7)]
        seconds = self._chance.between(2.0, 20.0)
        self._tell(f"{names} do not reach {proxy} for {seconds:.1f} s")
        pairs = {(name, proxy) for name in names}
        self._world.network.cut |= pairs
        await asyncio.sleep(seconds)
        self._world.network.cut -= pairs

    async def _cut_broker(self) -> None:
        name = self._chance.dice.choice(self._world.names)
        self._tell(f"{name} does not reach the broker")
        self._world.post.cut.add(name)
        controller = self._world.controllers.get(name)
        if controller is not None:
            self._world.post.lose(controller.process)
        await asyncio.sleep(self._chance.between(1.0, 15.0))
        self._world.post.cut.discard(name)

    # Proxies

    async def _reboot(self) -> None:
        proxy = self._chance.dice.choice([p for p in self._world.fleet.proxies if p.is_up] or [None])
        if proxy is not None:
            seconds = self._chance.between(0.1, 3.0) if self._chance.happens(0.7) else self._chance.between(5.0, 25.0)
            self._tell(f"{proxy.proxy_id} reboots, away for {seconds:.1f} s")
            proxy.go_down()
            await asyncio.sleep(seconds)
            proxy.come_up()

    async def _fail(self) -> None:
        running = self._world.fleet.sessions()
        if running:
            proxy, view = self._chance.dice.choice(running)
            self._tell(f"the session of {view.key} on {proxy.proxy_id} fails")
            proxy.fail(view.key)

    # The others

    async def _break_broker(self) -> None:
        loss = self._chance.dice.choice(("nothing", "queues", "everything"))
        self._tell(f"the broker dies and loses {loss}")
        self._world.broker.die(loss)
        await asyncio.sleep(self._chance.between(0.2, 5.0))
        self._world.broker.come_up()

    async def _crash_source(self) -> None:
        source = self._chance.dice.choice([s for s in self._world.sources if s.is_up] or [None])
        if source is not None:
            source.crash([key for key in source.streams if self._chance.happens(0.3)])
            await asyncio.sleep(self._chance.between(0.2, 10.0))
            source.boot()

    async def _break_database(self) -> None:
        self._tell("the database goes down")
        self._world.storage.is_down = True
        await asyncio.sleep(self._chance.between(0.2, 5.0))
        self._world.storage.is_down = False

    async def _restore(self, seconds: float) -> None:
        """In some worlds the database is set back to a backup, with every controller stopped."""
        if not self._chance.happens(self._world.plot.restore_probability):
            return
        await asyncio.sleep(self._chance.between(0.0, seconds - 40.0))
        self._tell("a backup of the database is taken")
        backup = self._world.storage.back_up()
        await asyncio.sleep(self._chance.between(2.0, 30.0))
        self._world.restore(backup)
        if self._chance.happens(self._world.plot.blackout_probability):
            # What took the database may have taken the broker, too: nobody can ask the sources.
            self._tell("no controller reaches the broker")
            self._world.post.cut |= set(self._world.names)
            await asyncio.sleep(self._chance.between(*self._world.plot.blackout_seconds))
            self._world.post.cut -= set(self._world.names)

    def _heal(self) -> None:
        self._tell("the last fault is over")
        self._world.heal()
