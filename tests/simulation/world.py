"""One world from one seed: two minutes of faults, one minute of quiet, and the verdict."""

import asyncio
import random
import sqlite3
from dataclasses import dataclass, field

from controller.domain.events import StopRequested
from controller.domain.model import Cause, StreamId
from controller.errors import DatabaseError
from controller.ingest.inbox import Received
from controller.store import record
from tests.simulation import patches
from tests.simulation.broker import Broker
from tests.simulation.chance import CALM, STORM, Chance, Weather
from tests.simulation.clock import Process, VirtualLoop
from tests.simulation.controllers import Controller, Surroundings
from tests.simulation.faults import INTERVALS, Faults, Intervals
from tests.simulation.invariants import Watch
from tests.simulation.mqtt import Post
from tests.simulation.network import Network
from tests.simulation.proxies import Fleet, SimulatedProxy
from tests.simulation.sources import Source
from tests.simulation.stage import Stage
from tests.simulation.storage import Storage
from tests.simulation.story import Story
from tests.simulation.truth import Truth

FAULT_SECONDS = 120.0
QUIET_SECONDS = 60.0
PROXIES = 3
SOURCES = {"enc-1": ("a", "b", "c"), "enc-2": ("d", "e")}
CONTROLLERS = ("ctl-1", "ctl-2")
BIRTHS_AGAIN = 2
"""In the worlds whose seed leaves this when divided by three, births of dead processes are delivered again in pairs."""


@dataclass(frozen=True)
class Plot:
    """What a world is made of, beside its seed."""

    weather: Weather = STORM
    fault_seconds: float = FAULT_SECONDS
    quiet_seconds: float = QUIET_SECONDS
    intervals: Intervals = INTERVALS
    restore_probability: float = 0.25
    """That the database is set back to an older backup."""
    blackout_probability: float = 0.5
    """That then nobody reaches the broker, either."""
    blackout_seconds: tuple[float, float] = (2.0, 12.0)


SHORT = Plot(fault_seconds=60.0)
"""As many faults of every kind in a minute, for half of a minute's work: what tests can live through by the hundred."""


@dataclass
class Outcome:
    """What became of a world."""

    seed: int
    digest: str
    violations: list[str]
    story: Story | None
    figures: dict[str, float] = field(default_factory=dict)


class World:
    def __init__(self, seed: int, plot: Plot) -> None:
        self.plot = plot
        self.seed = seed
        loop = VirtualLoop()
        self.stage = Stage(loop, Chance(seed, plot.weather), Story(loop), on_crash=self._buried)
        self.truth = Truth()
        self.fleet = Fleet(self.stage, self.truth)
        self.fleet.proxies = [SimulatedProxy(proxy_id=f"p{n}", fleet=self.fleet) for n in range(1, PROXIES + 1)]
        self.storage = Storage(self.stage)
        self.network = Network(self.stage, self.fleet)
        self.broker = Broker(self.stage)
        self.post = Post(self.broker, self.stage)
        self.sources = [Source(name, keys, self.broker, self.stage, self.truth) for name, keys in SOURCES.items()]
        if seed % 3 == BIRTHS_AGAIN:
            for source in self.sources:
                source.again = random.Random(f"{seed} {source.name}")
        self.names = list(CONTROLLERS)
        self.controllers: dict[str, Controller] = {}
        self.watch = Watch(self)
        self.surroundings = Surroundings(self.stage, self.storage, self.network, publishes_states=seed % 4 == 0)
        self.is_calm = False
        self.is_over = False

    # Life

    async def live(self) -> None:
        loop = self.stage.loop
        for name in self.names:
            self.start(name)
        for source in self.sources:
            source.boot()
        background = [loop.create_task(coroutine) for coroutine in (self.watch.run(), self._wish(), self._operate())]
        await Faults(self, self.plot.intervals).run(self.plot.fault_seconds)
        for task in background[1:]:
            task.cancel()
        await asyncio.sleep(self.plot.quiet_seconds)
        await self.watch.conclude()
        background[0].cancel()
        await self.close()

    async def close(self) -> None:
        """Let everything come to rest."""
        self.is_over = True
        for controller in self.controllers.values():
            controller.process.kill()
        await asyncio.sleep(30.0)

    def start(self, name: str) -> None:
        process = Process(name, self.stage.loop)
        controller = Controller(process, self.surroundings)
        self.controllers[name] = controller
        self.stage.story.tell(name, "starts")
        process.start(controller.run)
        self.stage.loop.outside(1.0, self._look_after, controller)

    def _look_after(self, controller: Controller) -> None:
        """Start a process again that has ended by itself; only a database that is away is a reason for that."""
        process = controller.process
        if self.is_over or self.controllers.get(process.name) is not controller:
            return
        if process.is_alive:
            self.stage.loop.outside(1.0, self._look_after, controller)
        elif process.failure is not None:
            if not isinstance(process.failure, DatabaseError):
                self.stage.object(f"{process.name} ends by itself: {describe(process.failure)}")
            self.post.lose(process)
            self.start(process.name)

    def _buried(self, process: Process) -> None:
        """A process was killed: the broker notices, and it is started again after a while."""
        self.post.lose(process)
        seconds = 0.5 if self.is_calm else self.stage.chance.between(0.2, 8.0)
        self.stage.loop.outside(seconds, self.start_again, process.name)

    def start_again(self, name: str) -> None:
        if not self.is_over and not self.controllers[name].process.is_alive:
            self.start(name)

    def restore(self, backup: sqlite3.Connection) -> None:
        """Set the database back, with every controller stopped."""
        for controller in self.controllers.values():
            self.stage.crash(controller.process, "no particular place: the database is set back")
        self.stage.story.tell("fault", "the database is set back to the backup")
        self.storage.restore(backup)
        self.truth.forget()
        self.watch.forget()

    def heal(self) -> None:
        self.is_calm = True
        self.stage.chance.weather = CALM
        self.network.cut.clear()
        self.post.cut.clear()
        self.storage.is_down = False
        self.broker.come_up()
        for proxy in self.fleet.proxies:
            proxy.come_up()
        for source in self.sources:
            if not source.is_up:
                source.boot()
        for controller in list(self.controllers.values()):
            controller.process.thaw()
            if not controller.process.is_alive:
                self.start(controller.process.name)
        self.watch.calm_at = self.stage.loop.time()

    # Wishes

    async def _wish(self) -> None:
        """The sources start, change and end streams."""
        chance = self.stage.chance
        while True:
            await asyncio.sleep(chance.interval(2.5))
            source = chance.dice.choice(self.sources)
            if source.is_up:
                self._wish_of(source, chance.dice.choice(source.keys))

    def _wish_of(self, source: Source, key: str) -> None:
        chance = self.stage.chance
        url = f"http://origin/{key}-{self.truth.changes}.ts"
        on_demand, on_eof = chance.happens(0.5), "end" if chance.happens(0.2) else "reconnect"
        if key not in source.streams:
            source.start(key, url, on_demand=on_demand, on_eof=on_eof)
        elif chance.happens(0.25):
            source.change(key, url)
        elif chance.happens(0.35):
            source.start(key, url, on_demand=on_demand, on_eof=on_eof)
        else:
            source.end(key)

    async def _operate(self) -> None:
        """An operator stops a stream now and then, and may not hear whether that was done."""
        while True:
            await asyncio.sleep(self.stage.chance.interval(25.0))
            alive = [c for c in self.controllers.values() if c.process.is_alive and c.rooms is not None]
            runs = self.storage.query("SELECT id, key, epoch FROM streams WHERE state NOT IN ('ENDED', 'CLOSED')")
            if alive and runs:
                stream_id, key, epoch = self.stage.chance.dice.choice(runs)
                controller = self.stage.chance.dice.choice(alive)
                self.stage.story.tell("operator", f"asks {controller.process.name} to stop {key}, epoch {epoch}")
                self.truth.either.add((key, epoch))
                controller.process.ask(lambda c=controller, s=stream_id, r=(key, epoch): self._stop(c, s, r))

    async def _stop(self, controller: Controller, stream_id: str, run: tuple[str, int]) -> None:
        event = StopRequested(StreamId(stream_id), Cause("operator:ann", "DELETE /streams"))
        try:
            recorded = await controller.database.write(record.record_now, [event], new_id=lambda: StreamId("never"))
        except DatabaseError:
            return
        controller.wake(recorded.keys)
        self.truth.either.discard(run)
        self.truth.stopped.add(run)
        self.truth.changes += 1

    def acknowledged(self, received: Received) -> None:
        self.watch.acknowledged(received)


def describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"


def live_in(world: World) -> None:
    """Live through a world, with its clock and its dice."""
    world.post.on_acknowledged = world.watch.acknowledged
    world.storage.on_commit = world.watch.committed
    with (
        patches.in_world(world.stage, world.post),
        world.surroundings.given(),
        world.storage.given(),
        world.stage.story.listening(),
    ):
        world.stage.loop.run_until(world.live())


def run(seed: int, plot: Plot | None = None) -> Outcome:
    """Live through the world of one seed."""
    world = World(seed, plot or Plot())
    live_in(world)
    violations = world.stage.violations + [f"a task failed: {text}" for text in world.stage.loop.complaints]
    return Outcome(seed, world.stage.story.digest(), violations, world.stage.story, world.watch.figures())
