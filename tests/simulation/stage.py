"""What every actor of a world shares: time, chance, the story, and the borders at which a process may die."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.simulation.chance import Chance
from tests.simulation.clock import KilledError, Process, VirtualLoop
from tests.simulation.story import Story

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Stage:
    loop: VirtualLoop
    chance: Chance
    story: Story
    on_crash: Callable[[Process], None] = lambda _process: None
    failpoints: list[Callable[[Process, str], None]] = field(default_factory=list)
    """Asked at every border, with its name; may kill the process there."""
    violations: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.loop.time())

    def object(self, text: str) -> None:
        """Something happened that never may."""
        self.violations.append(f"{self.loop.time():.3f}: {text}")
        self.story.tell("!!", text)

    def crash(self, process: Process, place: str) -> None:
        """Kill a process by chance, and let it be started again."""
        if process.is_alive:
            self.story.tell(process.name, f"is killed at {place}")
            process.kill()
            self.on_crash(process)

    def touch(self, process: Process, place: str, probability: float) -> None:
        """Pass a border without waiting: a process may die here."""
        process.check()
        for failpoint in self.failpoints:
            failpoint(process, place)
        process.check()
        if self.chance.happens(probability):
            self.crash(process, place)
            raise KilledError

    async def cross(self, process: Process, place: str, seconds: float | None = None) -> None:
        """Pass a border: the outside world takes its time."""
        self.touch(process, place, self.chance.weather.crash_at_await)
        await asyncio.sleep(self.chance.latency() if seconds is None else seconds)
        process.check()
