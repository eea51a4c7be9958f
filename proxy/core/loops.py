"""Whether an upstream plays the same pictures again and again: an encoder's file that begins anew, a provider's slate.

Pure, and of bounded memory. A *unit* is what lies between two random access points. Its fingerprint is made of the
first bytes of each of its pictures, without time stamps, so a loop whose clocks were rewritten is known as one. A
loop is found when a whole *sequence* of units has come again, and then again, or on for long: a picture that stands
still repeats single units, not a sequence of different ones, and a reconnect that replays the last seconds does so
once.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

UNITS_MAX: Final = 2048
"""So many are remembered: a loop of more is not found. With a unit in two seconds that is more than an hour."""
DIFFERENT_MIN: Final = 3
"""A sequence of fewer different units is a picture that stands still."""
AGAIN_UNITS_MAX: Final = 60
"""After it came once more, a sequence must go on for as long again, or for so many units."""
FRESH_UNITS_MAX: Final = 30
"""A loop is over after as many units as it had that nobody has seen, at most so many."""
OTHER_FRESH_UNITS_MAX: Final = 120
"""And after twice as many of another upstream, at most so many."""
PICTURES_MAX: Final = 2048
"""Of one unit; what comes after is not looked at."""


UNJUDGED_MAX: Final = 8
"""So many pictures at most are not known yet to be random access points or not."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One that was found."""

    since: float
    """Loop time at which it was certain."""
    seconds: float
    """How long one round takes, as it arrived."""
    units: int
    upstream_index: int
    """Which upstream of the list played it."""


class Loops:
    """Watches one feed."""

    def __init__(self, upstream_index: int = 0) -> None:
        self.found: Loop | None = None
        self._upstream_index = upstream_index
        self._pictures: list[tuple[int, bytes]] = []
        """Position and first bytes of those that belong to no closed unit yet."""
        self._begun_at: int | None = None
        self._units: deque[tuple[int, float]] = deque(maxlen=UNITS_MAX)
        self._newest: dict[int, int] = {}
        """Number of the newest unit of each fingerprint."""
        self._count = 0
        self._lag = 0
        self._matched = 0
        self._fresh = 0

    def see(self, pictures: Iterable[tuple[int, bytes]], points: Iterable[int], now: float) -> None:
        """Take pictures (where each begins, and its first bytes) and random access points, both in order.

        A point may belong to a picture that was seen before.
        """
        if len(self._pictures) < PICTURES_MAX:
            self._pictures += pictures
        for position in points:
            self._reach(position, now)
        if self._begun_at is None:
            del self._pictures[:-UNJUDGED_MAX]

    def _reach(self, position: int, now: float) -> None:
        """What lies before a random access point is a unit."""
        if self._begun_at is not None and position > self._begun_at:
            mark = blake2b(digest_size=8)
            for at, head in self._pictures:
                if self._begun_at <= at < position:
                    mark.update(head)
            self._close(int.from_bytes(mark.digest()), now)
        self._begun_at = position
        self._pictures = [(at, head) for at, head in self._pictures if at >= position]

    def interrupt(self) -> None:
        """What comes next does not continue the unit that has begun."""
        self._begun_at = None
        self._pictures = []

    def follow(self, upstream_index: int) -> None:
        """Go on with this upstream. After another one, a loop that was found counts until there are fresh pictures."""
        if upstream_index == self._upstream_index:
            return
        self._upstream_index = upstream_index
        self.interrupt()
        self._units.clear()
        self._newest.clear()
        self._lag = self._matched = self._fresh = 0

    def _close(self, mark: int, now: float) -> None:
        self._units.append((mark, now))
        number, self._count = self._count, self._count + 1
        before = self._newest.get(mark, -1)
        self._newest[mark] = number
        is_known = before > number - len(self._units)
        if self._lag and self._at(number - self._lag) == mark:
            self._matched += 1
        else:
            self._lag = number - before if is_known else 0
            self._matched = 1 if is_known else 0
        self._fresh = 0 if is_known else self._fresh + 1
        if len(self._newest) > 2 * UNITS_MAX:
            oldest = number - len(self._units)
            self._newest = {kept: at for kept, at in self._newest.items() if at > oldest}
        self._judge(now)

    def _judge(self, now: float) -> None:
        found = self.found
        if found is not None and self._fresh >= self._fresh_needed(found):
            self.found = None
        elif found is not None and found.upstream_index == self._upstream_index:
            return
        elif self._lag and self._matched >= self._lag + min(self._lag, AGAIN_UNITS_MAX) and self._is_varied():
            round_began = self._units[-1 - self._lag][1]
            since = now if found is None else found.since
            self.found = Loop(since, now - round_began, self._lag, self._upstream_index)

    def _fresh_needed(self, found: Loop) -> int:
        """Return how many units that nobody has seen prove that the loop is over.

        Of another upstream more of them: the first round of a loop of its own is new, too.
        """
        if found.upstream_index == self._upstream_index:
            return min(max(found.units, DIFFERENT_MIN), FRESH_UNITS_MAX)
        return min(2 * found.units, OTHER_FRESH_UNITS_MAX)

    def _is_varied(self) -> bool:
        last = len(self._units)
        return len({self._units[last - 1 - back][0] for back in range(self._lag)}) >= DIFFERENT_MIN

    def _at(self, number: int) -> int | None:
        index = number - (self._count - len(self._units))
        return self._units[index][0] if index >= 0 else None
