"""HLS (RFC 8216): cut the ring into media segments at random access points, and write the media playlist.

Pure. A media segment is a range of ring positions and the tables to put before it, never a copy. Ranges need not
touch: what lies between a break of the upstream and the next random access point belongs to no segment. Segments of
fragmented MP4 come cut by others, and are listed as they came, with the initialisation that they need.

The target duration is declared with the first segment and never changes (RFC 8216, 6.2.1). That segments get no
longer is the business of ``proxy.core.limit``; whatever comes, none is listed as longer (4.3.3.1).
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from proxy.core.mpegts import PCR_HZ, RandomAccess

PTS_HZ: Final = 90_000
PTS_CYCLE: Final = 1 << 33
PCR_CYCLE: Final = PTS_CYCLE * 300
SECONDS_MAX: Final = 120.0
"""A media clock that moved further than this within one segment has jumped."""
QUICK_SEGMENTS: Final = 3
QUICK_SECONDS: Final = 1.0
"""The first segments of a feed may be this short, so that the first player need not wait for a full one."""
NUMBERS_BEGIN: Final = 1_700_000_000
"""Unix time; numbers are counted from here, so that they fit 31 bits until the year 2040."""
NUMBERS_A_SECOND: Final = 4
TARGETS_MIN: Final = 3
"""A playlist is so many target durations long, once it has been, if the ring holds as much."""
TAIL_SHARE: Final = 4
"""What lies in this part of the ring, at its tail, is listed only where the window needs it."""
KEPT_SEGMENTS_MAX: Final = 64
"""So many are kept, or twice the window: a clock that jumps all the time would cut thousands."""
EARLY: Final = 0.9
"""A random access point this near to the target is taken: the next one may be far behind it."""

QUERY_MARK: Final = "\0"
"""Stands for each viewer's own query in the playlist that is written for all."""
ROUNDING: Final = 0.01
"""Of a count of places to cut: times are rounded to ticks."""
SPARE_SECONDS: Final = 0.4
"""A target leaves at least so much to segments that get a little longer than the first ones: 10.01 s need no 11."""
FIRST_SECONDS_MAX: Final = 30.0
"""So long the first segment waits for a key picture: no target needs to be higher for those cut here."""
TARGET_SECONDS_MAX: Final = 120
"""Nor for those that come cut: who says that a segment takes an hour is not believed."""


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """``prefix`` and then the ring's bytes from ``start`` to ``end``."""

    sequence: int
    start: int
    end: int
    prefix: bytes
    duration_seconds: float
    wall: float
    """Unix time of its first picture."""
    discontinuity: bool
    """Its clock, counters or coding do not continue the segment before."""
    discontinuities_before: int
    """EXT-X-DISCONTINUITY tags before this segment's own, since the feed began."""
    initialisation: int | None = None
    """Of fragmented MP4: the number of the first segment that had the same initialisation; its name."""

    @property
    def size(self) -> int:
        return len(self.prefix) + self.end - self.start

    @property
    def name(self) -> str:
        return f"{self.sequence}.ts" if self.initialisation is None else f"{self.sequence}.m4s"


class Cutter:
    """Turns random access points into a sliding window of media segments."""

    def __init__(self, *, segment_seconds: float, window_segments: int, discontinuities: int = 0) -> None:
        self._segment_seconds = segment_seconds
        self.window_segments = window_segments
        self._kept: deque[MediaSegment] = deque(maxlen=max(KEPT_SEGMENTS_MAX, 2 * window_segments))
        self.opened: RandomAccess | None = None
        """Where the open segment begins."""
        self.spare: RandomAccess | None = None
        """The newest key picture in the open segment: it could have ended there."""
        self._newest: RandomAccess | None = None
        self._open_wall = 0.0
        self._broken = False
        self._sequence = -1
        self._initialisation: int | None = None
        self._follows_fragments = False
        self._tables = b""
        self.tables_number: int | None = None
        """Of MPEG-TS that took the place of fragmented MP4: the name of its tables."""
        self._count = 0
        self.discontinuities = discontinuities
        self.target_seconds = max(1, round_half_up(segment_seconds))
        self._is_declared = False
        self._first_listed = 0

    @property
    def declared_seconds(self) -> int | None:
        """The target that playlists have shown, which holds for all that follow; None while none has been shown."""
        return self.target_seconds if self._is_declared else None

    def declare(self, target_seconds: int) -> None:
        """Hold to a target that has been shown elsewhere."""
        self.target_seconds = target_seconds
        self._is_declared = True

    def expect(self, seconds: float) -> None:
        """Segments of this length will come: declare a target that they need, if it is not too late."""
        if not self._is_declared:
            self.target_seconds = max(self.target_seconds, min(target_of(seconds), TARGET_SECONDS_MAX))

    @property
    def seconds_max(self) -> float:
        """How long the open segment may get."""
        return longest_of(self.target_seconds) if self._is_declared else FIRST_SECONDS_MAX

    def reach(self, point: RandomAccess, *, force: bool = False) -> None:
        """A place to cut has come: end the open segment there if it is long enough, or by ``force``."""
        if not force:
            self._foresee(point)
        if self.opened is None:
            self._begin(point, point.wall)
        elif point.position > self.opened.position:
            self._reach(self.opened, point, force=force)
        elif point.position == self.opened.position and not point.blind:
            self.opened = point  # it was cut here before anybody knew that this is a key picture

    def _reach(self, opened: RandomAccess, point: RandomAccess, *, force: bool) -> None:
        seconds, jumped = elapsed(opened, point)
        if seconds > self.seconds_max:  # nobody could cut in between: the clock leapt
            seconds, jumped = min(max(0.001, point.at - opened.at), self.seconds_max), True
        if force or jumped or seconds >= self._wanted_seconds(opened, point):
            self._end(opened, point.position, seconds)
            self._broken = jumped
            self._begin(point, point.wall if jumped else self._open_wall + seconds)
        elif not point.blind:
            self.spare = point

    def _wanted_seconds(self, opened: RandomAccess, point: RandomAccess) -> float:
        if opened.blind and not point.blind:
            return 0.0  # whoever joins at the next segment has a picture at once, as it should be
        if self._count < QUICK_SEGMENTS:
            return min(EARLY * self._segment_seconds, QUICK_SECONDS)
        longest = self.target_seconds if self._is_declared else SECONDS_MAX
        return EARLY * min(self._segment_seconds, longest)

    def _foresee(self, point: RandomAccess) -> None:
        """Expect what segments will need if places to cut go on to come as they do: the first ones are cut early."""
        if self._is_declared:
            return
        gap, jumped = elapsed(self._newest, point) if self._newest is not None else (0.0, True)
        self._newest = point
        if not jumped and 0 < gap <= FIRST_SECONDS_MAX:
            self.expect(math.ceil(EARLY * self._segment_seconds / gap - ROUNDING) * gap)

    def add(self, start: int, end: int, *, seconds: float, wall: float, renewed: bool) -> MediaSegment:
        """List a segment that was cut elsewhere; ``renewed``: its initialisation is another than the last one's.

        ``wall``, when it came, counts for the first one and after a break; the others follow by their durations. One
        that is longer than the target allows is listed as if it were as long as that.
        """
        if not self._count or self._broken:
            self._open_wall = wall
        if self._sequence < 0:
            self._sequence = first_number(wall)
        if renewed:
            self._initialisation = self._sequence
        self._append(start, end, b"", max(0.001, seconds), self._initialisation)
        self._open_wall += seconds
        return self._kept[-1]

    def follow(self, former: "Cutter") -> None:
        """Go on where another list, which has been interrupted, ended: it will not be shown any more."""
        self._sequence, self._broken, self.discontinuities = former.state
        self._follows_fragments = former.is_fragmented
        if former.declared_seconds is not None:
            self.declare(former.declared_seconds)

    @property
    def is_fragmented(self) -> bool:
        return self._initialisation is not None

    def initialisation(self, number: int) -> bytes | None:
        """Return the tables of that name: what initialises MPEG-TS (RFC 8216, 3.2)."""
        return self._tables if number == self.tables_number else None

    @property
    def state(self) -> tuple[int, bool, int]:
        """The next segment's number, whether it continues nothing, and how many such there have been."""
        return self._sequence, self._broken, self.discontinuities

    def interrupt(self, position: int, now: float, pcr: int | None) -> None:
        """What follows ``position`` does not continue what came before: end the open segment here."""
        if self.opened is not None and position > self.opened.position:
            seconds = clock_seconds(self.opened.pcr, pcr, PCR_HZ, PCR_CYCLE)
            self._end(self.opened, position, max(0.001, now - self.opened.at) if seconds is None else seconds)
        self.opened = self.spare = self._newest = None
        self._broken = self._count > 0

    def expire(self, tail: int) -> None:
        """Forget the segments whose bytes the ring has dropped, the open one included."""
        while self._kept and self._kept[0].start < tail:
            self._kept.popleft()
        while tail and self._kept and len(self._kept) - self._unlisted > self.window_segments:
            first = self._kept[self._unlisted]
            if first.start - tail >= (self._kept[-1].end - tail) // TAIL_SHARE:
                break
            self._first_listed = first.sequence + 1  # it will be gone before everybody has got it
        if self.opened is not None and self.opened.position < tail:
            self.opened = self.spare = None
            self._broken = self._count > 0

    def find(self, sequence: int) -> MediaSegment | None:
        """Return a segment that can still be read, listed or not."""
        index = sequence - self._kept[0].sequence if self._kept else -1
        return self._kept[index] if 0 <= index < len(self._kept) else None

    @property
    def kept(self) -> Iterator[MediaSegment]:
        """All that can still be read, oldest first."""
        return iter(self._kept)

    @property
    def listed(self) -> tuple[MediaSegment, ...]:
        """The window a playlist shows now: the newest segments, and more while they last too short a time."""
        return tuple(islice(self._kept, self._unlisted, None))

    @property
    def _unlisted(self) -> int:
        """How many of those kept have left the window."""
        return max(0, self._first_listed - self._kept[0].sequence) if self._kept else 0

    def _slide(self) -> None:
        """Take segments off the window, but no more than it can do without (RFC 8216, 6.2.2)."""
        index = self._unlisted
        seconds = sum(segment.duration_seconds for segment in islice(self._kept, index, None))
        while len(self._kept) - index > self.window_segments:
            seconds -= self._kept[index].duration_seconds
            if seconds < TARGETS_MIN * self.target_seconds:
                break
            index += 1
        self._first_listed = self._kept[index].sequence

    def _begin(self, point: RandomAccess, wall: float) -> None:
        self.opened, self.spare = point, None
        self._open_wall = wall
        if self._sequence < 0:
            self._sequence = first_number(wall)

    def _end(self, opened: RandomAccess, position: int, seconds: float) -> None:
        if self._follows_fragments and self.tables_number is None and opened.prefix:
            self._tables, self.tables_number = opened.prefix, self._sequence
        self._append(opened.position, position, opened.prefix, seconds, None)

    def _append(self, start: int, end: int, prefix: bytes, seconds: float, initialisation: int | None) -> None:
        self.expect(seconds)
        self._is_declared = True
        self._kept.append(
            MediaSegment(
                self._sequence,
                start,
                end,
                prefix,
                seconds if seconds <= longest_of(self.target_seconds) else self.target_seconds,
                self._open_wall,
                self._broken,
                self.discontinuities,
                initialisation,
            )
        )
        self.discontinuities += self._broken
        self._broken = False
        self._sequence += 1
        self._count += 1
        self._slide()


def first_number(wall: float) -> int:
    """Rises from feed to feed of one key without being stored, as long as segments last a quarter of a second."""
    return max(0, int((wall - NUMBERS_BEGIN) * NUMBERS_A_SECOND))


class Playlists:
    """Writes a window once for all who ask for it: ``of`` returns it with each viewer's own query."""

    def __init__(self) -> None:
        self._text = ""
        self._made_from: object = None

    def of(self, cutter: Cutter, query: str, *, ended: bool) -> str | None:
        """Return the media playlist as of now; None while there is no segment to list."""
        listed = cutter.listed
        if not listed:
            return None
        state = (listed[0].sequence, listed[-1].sequence, cutter.target_seconds, ended)
        if self._made_from != state:
            self._text = render(
                listed,
                target_seconds=cutter.target_seconds,
                tables_number=cutter.tables_number,
                query=QUERY_MARK,
                ended=ended,
            )
            self._made_from = state
        return self._text.replace(QUERY_MARK, query)


def elapsed(start: RandomAccess, end: RandomAccess) -> tuple[float, bool]:
    """Return the seconds between two points and whether the media clock jumped between them."""
    seconds = clock_seconds(start.pts, end.pts, PTS_HZ, PTS_CYCLE)
    if seconds is not None:
        return seconds, False
    arrival = max(0.001, end.at - start.at)
    if start.pts is not None and end.pts is not None:
        return arrival, True
    return clock_seconds(start.pcr, end.pcr, PCR_HZ, PCR_CYCLE) or arrival, False


def clock_seconds(start: int | None, end: int | None, hertz: int, cycle: int) -> float | None:
    """Return how far a wrapping clock went, or None when it cannot be told or it jumped."""
    if start is None or end is None:
        return None
    seconds = (end - start) % cycle / hertz
    return seconds if 0 < seconds <= SECONDS_MAX else None


def target_of(seconds: float) -> int:
    """Return the lowest target for segments of about so many seconds."""
    return math.ceil(seconds + SPARE_SECONDS - 0.5)


def longest_of(target_seconds: int) -> float:
    """Return the longest duration that, written with three decimals and rounded, is not above the target."""
    return target_seconds + 0.499


def round_half_up(seconds: float) -> int:
    return int(seconds + 0.5)


def render(
    segments: tuple[MediaSegment, ...],
    *,
    target_seconds: int,
    tables_number: int | None = None,
    query: str = "",
    ended: bool = False,
) -> str:
    """Write the media playlist of a window; ``query`` is put behind every segment's address.

    ``tables_number`` names the tables of MPEG-TS that comes after fragmented MP4. A playlist cannot say that what it
    said of an initialisation holds no longer: hls.js would put that before packets. So another one takes its place.
    """
    head = list(_head(segments, target_seconds, is_mapped=tables_number is not None))
    return "\n".join((*head, *_body(segments, tables_number, query, ended=ended))) + "\n"


def _head(segments: tuple[MediaSegment, ...], target_seconds: int, *, is_mapped: bool) -> Iterator[str]:
    yield "#EXTM3U"
    is_plain = not segments or segments[-1].initialisation is None
    yield f"#EXT-X-VERSION:{7 if not is_plain else 6 if is_mapped else 3}"
    yield f"#EXT-X-TARGETDURATION:{target_seconds}"
    yield f"#EXT-X-MEDIA-SEQUENCE:{segments[0].sequence if segments else 0}"
    if segments and segments[0].discontinuities_before:
        yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{segments[0].discontinuities_before}"


def _body(segments: tuple[MediaSegment, ...], tables_number: int | None, query: str, *, ended: bool) -> Iterator[str]:
    known: int | None = None
    for segment in segments:
        if segment.discontinuity:
            yield "#EXT-X-DISCONTINUITY"
        needed = tables_number if segment.initialisation is None else segment.initialisation
        if needed is not None and needed != known:
            known = needed
            yield f'#EXT-X-MAP:URI="{needed}.{"psi" if segment.initialisation is None else "mp4"}{query}"'
        when = datetime.fromtimestamp(segment.wall, UTC)
        yield f"#EXT-X-PROGRAM-DATE-TIME:{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
        yield f"#EXTINF:{segment.duration_seconds:.3f},"
        yield f"{segment.name}{query}"
    if ended:
        yield "#EXT-X-ENDLIST"
