"""Where a media segment ends that would get longer, or larger, than it may, for want of a key picture in time.

Pure. A playlist keeps the target duration that it has shown (RFC 8216, 6.2.1), and key pictures come as they like. So
the segment is ended at the newest one that it went past; if there is none, where some other picture begins: whoever
plays on does not notice, and whoever joins there waits for the next key picture, which ends that segment in turn.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

from proxy.core.mpegts import RandomAccess
from proxy.core.playlist import PTS_CYCLE, PTS_HZ, Cutter, clock_seconds, elapsed

REORDERED_SECONDS: Final = 2.0
"""A picture may come after others that are shown so much later."""


Places = Callable[[], Sequence[RandomAccess]]
"""Return where segments can be cut blindly, in order; asked only when it is needed, and once."""


def pass_by(
    cutter: Cutter, points: Sequence[RandomAccess], end: RandomAccess, places: Places, *, bytes_max: int
) -> None:
    """Media with these random access points has come, up to ``end``: cut it where it should be, and where it must."""
    known: list[Sequence[RandomAccess]] = []

    def once() -> Sequence[RandomAccess]:
        if not known:
            known.append(places())
        return known[0]

    for point in points:
        hold(cutter, point, once, bytes_max=bytes_max)
        cutter.reach(point)
    hold(cutter, end, once, bytes_max=bytes_max)


def hold(cutter: Cutter, reached: RandomAccess, places: Places, *, bytes_max: int) -> None:
    """Cut the open segment before ``reached``, as often as its limits need."""
    while (opened := cutter.opened) is not None and (
        _is_too_long(opened, reached, cutter.seconds_max) or reached.position - opened.position > bytes_max
    ):
        cut = cutter.spare or _choose(opened, reached, places(), cutter.seconds_max)
        if cut is None:
            return
        cutter.reach(cut, force=True)


def _choose(
    opened: RandomAccess, reached: RandomAccess, places: Sequence[RandomAccess], seconds_max: float
) -> RandomAccess | None:
    """Return the newest place that is not too late; if all are, the first one, where the clock has leapt."""
    first = bisect_right(places, opened.position, key=_position)
    between = places[first : bisect_left(places, reached.position, key=_position)]
    ahead = [place for place in between if not _is_reordered(opened, place)]
    fitting = list(takewhile(lambda place: not _is_too_long(opened, place, seconds_max), ahead))
    return fitting[-1] if fitting else ahead[0] if ahead else None


def _is_too_long(opened: RandomAccess, place: RandomAccess, seconds_max: float) -> bool:
    return elapsed(opened, place)[0] > seconds_max and not _is_reordered(opened, place)


def _is_reordered(opened: RandomAccess, place: RandomAccess) -> bool:
    behind = clock_seconds(place.pts, opened.pts, PTS_HZ, PTS_CYCLE)
    return behind is not None and behind <= REORDERED_SECONDS


def _position(place: RandomAccess) -> int:
    return place.position
