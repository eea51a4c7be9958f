"""Small worlds without chance: one event, one fault at a named point, and what became of both.

The oracle is the same world without the fault: it has to end in the same state, after the same effects at the proxies.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from typing_extensions import override

from controller.domain.events import StopRequested
from controller.domain.model import Cause, StreamId
from controller.errors import DatabaseError
from controller.store import record
from tests.simulation.chance import CALM
from tests.simulation.clock import Process
from tests.simulation.sources import Source
from tests.simulation.world import Plot, World, live_in

LEAD_IN_SECONDS = 10.0
SETTLE_SECONDS = 50.0

Action = Callable[["Scene"], Awaitable[None]]


@dataclass
class Ending:
    """How a scene ended."""

    state: list[tuple[object, ...]]
    """Runs and sessions, without what differs with time: ids, generations, proxies."""
    effects: Counter[tuple[str, str, int]]
    """What commands did at the proxies: (effect, key, epoch)."""
    violations: list[str]
    was_hit: bool
    """Whether the fault found its point."""
    story: str = field(repr=False)


class Scene(World):
    """Streams a and b run; then the event, and with it the fault."""

    def __init__(self, event: Action, fault: Action) -> None:
        super().__init__(1, Plot(weather=CALM))
        self.is_calm = True
        self.was_hit = False
        self.state: list[tuple[object, ...]] = []
        self._event = event
        self._fault = fault

    @property
    def source(self) -> Source:
        return self.sources[0]

    @override
    async def live(self) -> None:
        for name in self.names:
            self.start(name)
        for source in self.sources:
            source.boot()
        await asyncio.sleep(2.0)
        self.source.start("a", "http://origin/a.ts", on_demand=False, on_eof="reconnect")
        self.source.start("b", "http://origin/b.ts", on_demand=False, on_eof="reconnect")
        await asyncio.sleep(LEAD_IN_SECONDS)
        self.fleet.effects.clear()
        self.stage.story.tell("scene", "now")
        await self._fault(self)
        await self._event(self)
        await asyncio.sleep(SETTLE_SECONDS)
        await self.watch.conclude()
        self.state = self._describe()
        await self.close()

    def crash_at(self, is_there: Callable[[str], bool]) -> None:
        """Kill the controller that next passes such a place."""

        def failpoint(process: Process, place: str) -> None:
            if not self.was_hit and is_there(place):
                self.was_hit = True
                self.stage.crash(process, place)

        self.stage.failpoints.append(failpoint)

    async def stop_by_operator(self, key: str) -> None:
        """Ask again and again, until an answer says that it is done."""
        [(stream_id, epoch)] = self.storage.query(
            "SELECT id, epoch FROM streams WHERE key = ? AND state NOT IN ('ENDED', 'CLOSED')", key
        )
        event = StopRequested(StreamId(stream_id), Cause("operator:ann", "DELETE /streams"))
        answers: list[bool] = []

        async def ask() -> None:
            controller = self.controllers[self.names[0]]
            try:
                recorded = await controller.database.write(record.record_now, [event], new_id=lambda: StreamId("never"))
            except DatabaseError:
                return
            controller.wake(recorded.keys)
            answers.append(True)

        self.truth.stopped.add((key, epoch))
        while not answers:
            if self.controllers[self.names[0]].process.is_alive:
                self.controllers[self.names[0]].process.ask(ask)
            await asyncio.sleep(1.0)

    def _describe(self) -> list[tuple[object, ...]]:
        runs = self.storage.query(
            "SELECT key, announced_epoch, state, reason, spec_generation FROM streams ORDER BY 1, 2"
        )
        sessions = [("session", v.key, v.epoch, v.state.value, v.spec_digest) for _, v in self.fleet.sessions()]
        return [*runs, *sorted(sessions)]


def play(event: Action, fault: Action) -> Ending:
    """Live through one scene."""
    scene = Scene(event, fault)
    live_in(scene)
    return Ending(
        scene.state,
        Counter(scene.fleet.effects),
        scene.stage.violations + scene.stage.loop.complaints,
        scene.was_hit,
        "\n".join(scene.stage.story.lines(LEAD_IN_SECONDS)),
    )


async def nothing(scene: Scene) -> None:
    """No fault at all."""
    scene.was_hit = True
