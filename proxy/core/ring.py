"""A bounded ring of bytes under absolute positions, with an index of where to join.

Pure. Bytes are appended to storage segments that are dropped as a whole and never rewritten: what lies in a socket's
queue after ``sendfile`` refers to pages, not copies, so a segment that a slow viewer still needs stays as it was.
Readers hold positions; one whose position has been dropped is told so (None) and never blocks the writer.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from proxy.core.mpegts import RandomAccess
from proxy.core.psi import PACKET_BYTES

PIECES: Final = 8
"""The ring is held in so many segments: what is dropped at once is an eighth of it."""
SEGMENT_BYTES_MAX: Final = 4 * 1024 * 1024
POINTS_MAX: Final = 4096
POINT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the tables that all points hold together: some streams have as many tables as media."""


class Segment(Protocol):
    """Storage of fixed capacity that is only ever appended to."""

    def append(self, block: bytes) -> None: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def fileno(self) -> int:
        """Return the descriptor that ``sendfile`` reads from, or -1 when there is none."""

    def close(self) -> None: ...


NewSegment = Callable[[int, int], Segment]
"""Given the capacity, and how many bytes will probably be used."""


class Piece(NamedTuple):
    """A run of bytes inside one segment."""

    segment: Segment
    offset: int
    size: int


@dataclass(slots=True)
class _Held:
    segment: Segment
    size: int
    born_at: float
    newest_at: float


class Ring:
    """The newest ``bytes_max`` bytes, none older than about ``seconds_max``; positions only ever rise."""

    def __init__(self, *, bytes_max: int, seconds_max: float, new_segment: NewSegment) -> None:
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._capacity = min(SEGMENT_BYTES_MAX, bytes_max // PIECES) // PACKET_BYTES * PACKET_BYTES
        if self._capacity <= 0:
            raise ValueError(bytes_max)
        self._new_segment = new_segment
        self._held: deque[_Held] = deque()
        self._starts: deque[int] = deque()
        self._points: deque[RandomAccess] = deque()
        self._point_bytes = 0
        self.head = 0
        self.tail = 0

    def append(self, block: bytes, now: float) -> None:
        """Add bytes at ``head``; drop what is too much or too old."""
        at = 0
        while at < len(block):
            held = self._writable(now)
            part = block[at : at + self._capacity - held.size]
            held.segment.append(part)
            held.size += len(part)
            held.newest_at = now
            self.head += len(part)
            at += len(part)

    def keep(self, seconds: float) -> None:
        """Hold on to what is up to so old, from now on, if it was less before; the limit of bytes stays."""
        self._seconds_max = max(self._seconds_max, seconds)

    def locate(self, position: int) -> Piece | None:
        """Return what can be read in one go at ``position`` (nothing, at the head); None when it has been dropped."""
        if position < self.tail or position > self.head:
            return None
        if position == self.head:
            return _NOTHING
        index = bisect_right(self._starts, position) - 1
        held = self._held[index]
        offset = position - self._starts[index]
        return Piece(held.segment, offset, held.size - offset)

    def read(self, position: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes from ``position`` on; None when any of them has been dropped."""
        parts = []
        while size > 0:
            piece = self.locate(position)
            if piece is None:
                return None
            if not piece.size:
                break
            part = piece.segment.read(piece.offset, min(size, piece.size))
            parts.append(part)
            position += len(part)
            size -= len(part)
        return b"".join(parts)

    def add_point(self, point: RandomAccess) -> None:
        """Index a place to join; one behind the newest or already dropped is ignored."""
        if point.position < self.tail or (self._points and point.position <= self._points[-1].position):
            return
        self._points.append(point)
        self._point_bytes += len(point.prefix)
        while len(self._points) > POINTS_MAX or self._point_bytes > POINT_BYTES_MAX:
            self._forget_point()

    @property
    def newest_point(self) -> RandomAccess | None:
        return self._points[-1] if self._points else None

    @property
    def points(self) -> tuple[RandomAccess, ...]:
        return tuple(self._points)

    def point_behind(self, *, at: float, position: int, bytes_max: int) -> RandomAccess | None:
        """Return the newest point that came by ``at`` and lies at or before ``position``; where none does, the oldest.

        Not further than ``bytes_max`` behind the head, nor so near to the tail that the next drop would take it; the
        newest point of all when no other is left.
        """
        first = max(self.head - bytes_max, self.tail + (self.head - self.tail) // PIECES)
        found = self.newest_point
        for point in reversed(self._points):
            if point.position < first:
                break
            found = point
            if point.at <= at and point.position <= position:
                break
        return found

    def close(self) -> None:
        """Give the storage back; every reader is lapped from now on."""
        while self._held:
            self._drop()
        self.tail = self.head

    def _writable(self, now: float) -> _Held:
        newest = self._held[-1] if self._held else None
        if newest is not None and newest.size < self._capacity and now - newest.born_at < self._seconds_max / PIECES:
            return newest
        while self._held and (
            (len(self._held) + 1) * self._capacity > self._bytes_max
            or self._held[0].newest_at < now - self._seconds_max
        ):
            self._drop()
        held = _Held(self._new_segment(self._capacity, newest.size if newest is not None else 0), 0, now, now)
        self._held.append(held)
        self._starts.append(self.head)
        return held

    def _drop(self) -> None:
        held = self._held.popleft()
        self.tail = self._starts.popleft() + held.size
        held.segment.close()
        while self._points and self._points[0].position < self.tail:
            self._forget_point()

    def _forget_point(self) -> None:
        self._point_bytes -= len(self._points.popleft().prefix)


class _Nothing:
    """The empty segment at the head."""

    def append(self, block: bytes) -> None:
        raise ValueError(block)

    def read(self, offset: int, size: int) -> bytes:  # noqa: ARG002 - nothing lies here, wherever one asks
        return b""

    def fileno(self) -> int:
        return -1

    def close(self) -> None: ...


_NOTHING: Final = Piece(_Nothing(), 0, 0)
