"""Keys that need a look: coalescing, delayed, bounded.

Level-triggered: a bell says *where* to look, never what happened. A key that is rung while it is being looked at is
looked at again; a bell is delayed at most, never dropped. When more keys ring than are worth naming, everything is
looked at. Knows nothing of streams, proxies or the database; the clock is handed in.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from controller.domain.model import Key
from controller.reconcile.histogram import Histogram

REST_SECONDS_MAX: Final = 1.0
"""The longest rest after a look that took long."""


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at: these keys, or everything."""

    keys: frozenset[Key] | None

    @property
    def is_full(self) -> bool:
        return self.keys is None


class KeyQueue:
    """Bells of keys, taken together at most every ``spacing_seconds``, and no sooner than the last look took again.

    The more there is to do, the more is done at once: a look costs as much for ten keys as for one, and whoever only
    looks answers nobody else.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        resync_seconds: Callable[[], float],
        spacing_seconds: float = 0.05,
        keys_max: int = 2000,
    ) -> None:
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._spacing_seconds = spacing_seconds
        self._keys_max = keys_max
        self._due: dict[Key, float] = {}
        self._full_at = clock()
        self._taken_at = self._rests_until = clock() - spacing_seconds
        self._is_out = False
        self._rung = asyncio.Event()
        self.adds = 0
        """Bells of keys that were not rung already."""
        self.retries = 0
        self.waited = Histogram()
        """From when a look was due to when it was taken."""
        self.worked = Histogram()
        """From when a look was taken to when it was done."""

    @property
    def depth(self) -> int:
        """Keys that wait for a look."""
        return len(self._due)

    @property
    def working_seconds(self) -> float:
        """For how long the look that is under way has lasted; 0 between looks."""
        return self._clock() - self._taken_at if self._is_out else 0.0

    def ring_again(self, look: Look, after_seconds: float) -> None:
        """Ask for the same look again: it failed."""
        self.retries += 1
        if look.keys is None:
            self.ring_all(after_seconds)
        else:
            self.ring(look.keys, after_seconds)

    def ring(self, keys: Iterable[Key], after_seconds: float = 0.0) -> None:
        """Ask for a look at these keys, now or later. An earlier bell of a key wins over a later one."""
        at = self._clock() + after_seconds
        for key in keys:
            known = self._due.get(key)
            self.adds += known is None
            if known is None or at < known:
                self._due[key] = at
        if len(self._due) > self._keys_max:
            # No bell is lost: the full look comes with the first of them.
            self._full_at = min(self._full_at, *self._due.values())
            self._due.clear()
        self._rung.set()

    def ring_all(self, after_seconds: float = 0.0) -> None:
        """Ask for a look at everything, now or later."""
        self._full_at = min(self._full_at, self._clock() + after_seconds)
        self._rung.set()

    async def take(self) -> Look:
        """Wait until something is due, then return all of it. The next full look is due a resync later.

        Whoever calls has done what was taken before.
        """
        if self._is_out:
            self._is_out = False
            now = self._clock()
            self.worked.note(now - self._taken_at)
            self._rests_until = now + min(now - self._taken_at, REST_SECONDS_MAX)
        while True:
            now = self._clock()
            at = max(min(self._full_at, *self._due.values()) if self._due else self._full_at, self._earliest)
            if at <= now:
                self.waited.note(now - at)
                return self._take(now)
            self._rung.clear()
            try:
                async with asyncio.timeout(at - now):
                    await self._rung.wait()
            except TimeoutError:
                continue

    @property
    def _earliest(self) -> float:
        return max(self._taken_at + self._spacing_seconds, self._rests_until)

    def _take(self, now: float) -> Look:
        self._taken_at = now
        self._is_out = True
        if self._full_at <= now:
            self._full_at = now + self._resync_seconds()
            self._due = {key: at for key, at in self._due.items() if at > now}
            return Look(None)
        due = frozenset(key for key, at in self._due.items() if at <= now)
        for key in due:
            del self._due[key]
        return Look(due)
