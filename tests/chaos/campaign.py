"""A world under load, faults one after another, a quiet time, and the verdict."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos import faults, verdict
from tests.chaos.faults import Fault
from tests.chaos.load import KEYS, Source
from tests.chaos.viewers import Audience
from tests.chaos.world import Kind, World, world

LOOK_SECONDS = 0.5
STAY_SECONDS = 2.0
"""What is right must be right again after this: longer than a cycle of the control loop."""


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    kind: Kind
    seconds: float
    """How long things happen."""
    pause_seconds: tuple[float, float] = (0.8, 2.0)
    """Between two faults."""
    quiet_seconds: float = 60.0
    """How long all may take to come right afterwards."""
    rate: float = 4.0
    """Decisions of the source in a second."""
    viewers: int = 4
    """Players at a time."""


@dataclass(slots=True)
class Report:
    complaints: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    explained: Counter[str] = field(default_factory=Counter)
    settled_seconds: float = 0.0
    events: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """How viewers fared while faults fell."""
    story: list[str] = field(default_factory=list)


class Campaign:
    def __init__(self, plan: Plan, home: Path, echo: Callable[[str], None]) -> None:
        self.report = Report()
        self._plan = plan
        self._home = home
        self._echo = echo
        self._random = Random(plan.seed)
        self._began = time.monotonic()
        self._forgets: list[float] = []

    async def run(self) -> Report:
        self._tell(f"seed {self._plan.seed}, {self._plan.kind}, logs in {self._home}")
        async with world(self._home, self._plan.kind, self._tell) as here:
            source = Source(
                (here.broker_host, here.broker_port),
                here.upstream_url,
                Random(self._plan.seed + 1),
                rate=self._plan.rate,
                tell=self._tell,
            )
            source.start_all(len(KEYS) // 2)
            audience = Audience(here, source.ledger, Random(self._plan.seed + 2), self._plan.viewers)
            async with asyncio.TaskGroup() as group:
                speaking = group.create_task(source.speak(), name="source")
                watching = group.create_task(audience.watch(), name="viewers")
                await self._happen(here, source)
                watching.cancel()
                self.report.seen = audience.seen
                await self._judge(here, source)
                speaking.cancel()
        return self.report

    async def _happen(self, here: World, source: Source) -> None:
        """Let faults fall until the time is over; return when every one is undone."""
        deck = self._deck(here)
        end = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as group:
            deciding = group.create_task(source.decide(), name="load")
            while time.monotonic() < end:
                await asyncio.sleep(self._random.uniform(*self._plan.pause_seconds))
                group.create_task(self._strike(here, next(deck)), name="fault")
            await asyncio.sleep(0)
            deciding.cancel()
        self._tell("the faults have ended")

    def _deck(self, here: World):
        self.report.skipped = {fault.name: why for fault in faults.FAULTS if (why := fault.obstacle(here))}
        for name, why in self.report.skipped.items():
            self._tell(f"left out: {name} ({why})")
        possible = tuple(fault for fault in faults.FAULTS if fault.name not in self.report.skipped)
        return faults.deal(possible, self._random)

    async def _strike(self, here: World, fault: Fault) -> None:
        if fault.forgets:
            self._forgets.append(time.monotonic())
        async with fault.blow(here, self._random) as what:
            self.report.struck[fault.name] += 1
            self._tell(f"{fault.name}: {what}")
            await asyncio.sleep(fault.seconds)
        if fault.seconds:
            self._tell(f"undone: {fault.name}")

    async def _judge(self, here: World, source: Source) -> None:
        complaints = await self._settle(here, source)
        missing, self.report.explained = await verdict.read_histories(here, source.ledger, self._forgets)
        dark = await verdict.watch(here, source.ledger)
        self.report.complaints = complaints + missing + dark + await verdict.prove_sight(here, source.ledger)
        self.report.events = len(source.ledger.events)
        starts = {name: part.starts for name, part in here.parts.items()}
        self._tell(f"starts: {starts}; births: {len(source.ledger.births)}")

    async def _settle(self, here: World, source: Source) -> list[str]:
        """Look until all is right twice in a row; return what is still wrong when the time is over."""
        began = time.monotonic()
        looks_right = 0
        told: list[str] = []
        while True:
            await asyncio.sleep(STAY_SECONDS if looks_right else LOOK_SECONDS)
            quiet = [] if source.is_quiet else ["the source has not said everything"]
            complaints = quiet + await verdict.look(here, source.ledger)
            if complaints != told:
                told = complaints
                self._tell(f"not yet: {complaints[0]}, and {len(complaints) - 1} more" if complaints else "right")
            looks_right = 0 if complaints else looks_right + 1
            passed = time.monotonic() - began
            if looks_right == 1:
                self.report.settled_seconds = passed
            if looks_right == 2 or (complaints and passed > self._plan.quiet_seconds):
                return complaints

    def _tell(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:7.2f} s  {text}"
        self.report.story.append(line)
        self._echo(line)


async def run(plan: Plan, home: Path, echo: Callable[[str], None] = lambda _line: None) -> Report:
    return await Campaign(plan, home, echo).run()
