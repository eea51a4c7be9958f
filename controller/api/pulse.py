"""The bell that wakes those who follow the event stream. It carries nothing: who hears it reads the database.

A ring between two waits is never lost, because rings are counted and a follower says which it has heard last.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FOLLOWERS_MAX = 256


class TooManyFollowersError(Exception):
    """No follower is taken any more; raised by those who ask ``is_full``."""


class Pulse:
    """Counts commits that somebody may want to see."""

    def __init__(self, followers_max: int = FOLLOWERS_MAX) -> None:
        self._followers_max = followers_max
        self._followers = 0
        self._rings = 0
        self._bell = asyncio.Event()

    @property
    def rings(self) -> int:
        """How often it has rung: what to hand to ``wait``. Read it before reading the database."""
        return self._rings

    @property
    def followers(self) -> int:
        return self._followers

    def ring(self) -> None:
        """Say that something was committed. Cheap, and safe to call too often."""
        self._rings += 1
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    @property
    def is_full(self) -> bool:
        """Whether no further follower should be taken."""
        return self._followers >= self._followers_max

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Count as a follower for a while."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    async def wait(self, heard: int, stopping: asyncio.Event, seconds: float) -> None:
        """Return at the first ring after ring number ``heard``, when ``stopping`` is set, or after ``seconds``."""
        if self._rings != heard or stopping.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                waits = [
                    group.create_task(self._bell.wait(), name="await the pulse"),
                    group.create_task(stopping.wait(), name="await the end"),
                ]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
