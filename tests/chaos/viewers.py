"""Viewers: real players that come, watch some seconds of something that runs, and go. How they fare is counted."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random

from tests.chaos.load import Ledger
from tests.chaos.world import CONTROLLERS, World

WATCH_SECONDS = (2.0, 10.0)
GRACE_SECONDS = 10.0
"""How long after its time a player may take to end before it is killed."""


class Audience:
    """So many players at a time, every second one ffmpeg, the others curl."""

    def __init__(self, world: World, ledger: Ledger, random: Random, count: int) -> None:
        self.seen: Counter[str] = Counter()
        """What became of each that has come: ``watched``, or ``nothing to see``."""
        self._world = world
        self._ledger = ledger
        self._random = random
        self._count = count

    async def watch(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._come_again(_ffmpeg if number % 2 else _curl), name=f"viewer {number}")

    async def _come_again(self, player: Callable[[str, float], list[str]]) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.1, 0.5))
            if not self._ledger.running:
                continue
            key = self._random.choice(sorted(self._ledger.running))
            url = f"{self._world.urls[self._random.choice(CONTROLLERS)]}/watch/{key}"
            seconds = self._random.uniform(*WATCH_SECONDS)
            has_seen = await _play(player(url, seconds), seconds + GRACE_SECONDS)
            self.seen["watched" if has_seen else "nothing to see"] += 1


def _curl(url: str, seconds: float) -> list[str]:
    return ["curl", "--silent", "--location", "--fail", "--max-time", f"{seconds:.1f}", "--output", "-", url]


def _ffmpeg(url: str, seconds: float) -> list[str]:
    return ["ffmpeg", "-v", "quiet", "-i", url, "-t", f"{seconds:.1f}", "-c", "copy", "-f", "mpegts", "-"]


async def _play(command: list[str], seconds: float) -> bool:
    """Whether anything came."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    has_seen = False
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await process.stdout.read(1 << 16):
                    has_seen = True
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # asyncio's own way may take its end away from who waits for it
        await process.wait()
    return has_seen
