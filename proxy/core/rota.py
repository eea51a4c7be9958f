"""Which upstream of an ordered list is tried next, and when: a back-off for each, rounds, and the way back.

Pure: times are handed in, chance comes from a callable. What is known of an upstream is kept from round to round and
from pull to pull: a bad one is tried ever more seldom, until it has delivered steadily. It binds nobody who has just
come: with a new pull each may be tried once, those that should still wait last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

DOUBLINGS_MAX: Final = 16
RETURN_DOUBLINGS_MAX: Final = 5
LOOP_SECONDS: Final = 300.0
"""One that plays the same pictures again and again is let alone for so long."""
RETURN_SPREAD: Final = 0.25
"""The way back begins up to so much later than it could, so that many streams do not go back in one moment."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """All in seconds."""

    shortest: float = 0.5
    longest: float = 15.0
    steady: float = 5.0
    """An upstream that delivered for so long is good: its next failure is its first."""

    def delay(self, failures: int, jitter: float) -> float:
        """Return the pause after so many earlier failures; ``jitter`` in [0, 1) takes up to half of it away."""
        full = min(self.longest, self.shortest * 2.0 ** min(failures, DOUBLINGS_MAX))
        return full * (1.0 - jitter / 2)


@dataclass(slots=True)
class Standing:
    """What is known of one upstream."""

    failures: int = 0
    """In a row, without a steady delivery in between."""
    not_before: float = 0.0
    detail: str = ""
    """Why it ended last; empty while it is good or untried."""
    return_at: float = 0.0
    """When it may be tried again while one of lower rank delivers."""
    returns_failed: int = 0
    returned: bool = False
    """Whether it is tried, or delivers, instead of one of lower rank that did its duty."""


class Rota:
    """See the module. Upstreams are numbered from 0, the preferred one."""

    def __init__(self, count: int, backoff: Backoff, chance: Callable[[], float]) -> None:
        self.standings = [Standing() for _ in range(count)]
        self.rounds = 0
        """Rounds in which all of them failed, since one delivered steadily or the pull began."""
        self.prefer: Literal["first", "stay"] = "first"
        self.return_after_seconds = 60.0
        self._backoff = backoff
        self._chance = chance
        self._failed: set[int] = set()
        self._unbound = True
        self._latest = -1

    def begin(self) -> None:
        """A pull begins: in its first round no back-off binds."""
        self.rounds = 0
        self._failed.clear()
        self._unbound = True
        self._latest = -1

    def choose(self, now: float) -> int | None:
        """Return which to try now; None when all of them are to be let alone for a while."""
        order = [index for index in self._order() if not (self._unbound and index in self._failed)]
        ready = [index for index in order if self.standings[index].not_before <= now]
        return next(iter(ready or (order if self._unbound else [])), None)

    def wait_seconds(self, now: float) -> float:
        """Return how long to wait until one may be tried."""
        return max(0.0, min(standing.not_before for standing in self.standings) - now)

    def is_steady(self, flowed_seconds: float) -> bool:
        """Whether one that delivered for so long is good."""
        return flowed_seconds >= self._backoff.steady

    def has_other(self, index: int, now: float) -> bool:
        """Whether another one than ``index`` may be tried now."""
        return any(other != index and standing.not_before <= now for other, standing in enumerate(self.standings))

    def ended(self, index: int, now: float, *, flowed_seconds: float, detail: str, loops: bool = False) -> bool:
        """Note that one failed or ended, or ``loops``; return whether all of them have failed once more."""
        standing = self.standings[index]
        is_steady = self.is_steady(flowed_seconds)
        self._latest = index
        if is_steady:
            standing.failures = self.rounds = 0
            self._failed.clear()
            self._unbound = False
        standing.not_before = now + self._backoff.delay(standing.failures, self._chance())
        standing.failures += 1
        standing.detail = detail
        if loops:
            standing.not_before = now + LOOP_SECONDS
        self._postpone_return(standing, now, 0.0 if loops else flowed_seconds)
        if is_steady:
            return False
        self._failed.add(index)
        if len(self._failed) < len(self.standings):
            return False
        self._failed.clear()
        self._unbound = False
        self.rounds += 1
        return True

    def delivers(self, index: int) -> None:
        """Note that media comes from it."""
        self.standings[index].detail = ""

    # The way back

    def returning(self, index: int) -> None:
        """Note that it is tried while one of lower rank delivers."""
        self.standings[index].returned = True

    def return_to(self, active: int, now: float) -> int | None:
        """Return which one of higher rank than the one that delivers may be tried beside it now."""
        return next((index for index in self._better(active) if self._return_at(index) <= now), None)

    def return_wait_seconds(self, active: int, now: float) -> float | None:
        """Return how long until there is one to try; None when there never is."""
        times = [self._return_at(index) for index in self._better(active)]
        return max(0.0, min(times) - now) if times else None

    def forgive(self, index: int) -> None:
        """Something has changed for it: what it did before counts no more, and it may be tried at once."""
        self.standings[index] = Standing()

    def put_off(self, index: int, now: float) -> None:
        """It could not even be tried: try again later, without holding it against it."""
        self.standings[index].return_at = now + self.return_after_seconds

    def _better(self, active: int) -> range:
        return range(active if self.prefer == "first" else 0)

    def _return_at(self, index: int) -> float:
        standing = self.standings[index]
        return max(standing.return_at, standing.not_before)

    def _postpone_return(self, standing: Standing, now: float, flowed_seconds: float) -> None:
        if flowed_seconds >= self.return_after_seconds:
            standing.returns_failed = 0
        elif standing.returned:
            standing.returns_failed += 1
        standing.returned = False
        factor = 2.0 ** min(standing.returns_failed, RETURN_DOUBLINGS_MAX) * (1.0 + RETURN_SPREAD * self._chance())
        standing.return_at = now + self.return_after_seconds * factor

    def _order(self) -> list[int]:
        """In order of rank, or, for those who stay, from the one after the latest on."""
        count = len(self.standings)
        first = 0 if self.prefer == "first" else self._latest + 1
        return [(first + step) % count for step in range(count)]
