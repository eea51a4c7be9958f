"""Segments of fragmented MP4 (ISO/IEC 14496-12) on their way through: kept in the ring and listed, never looked into.

Pure. Whoever made them cut them where players may begin and said how long they play; here they are whole or they are
not there. Each is listed with the initialisation that it needs, which is kept beside the ring as long as a segment
refers to it. Their makers also said how long the longest will be, so that this can be declared with the first one.
"""

from typing import Final

from proxy.core.playlist import Cutter, MediaSegment
from proxy.core.ring import Ring
from proxy.errors import UpstreamContentError

INITIALISATION_BYTES_MAX: Final = 64 * 1024


class Fragments:
    """The segments of one feed; ``bytes_max`` is for one of them."""

    def __init__(self, ring: Ring, cutter: Cutter, *, bytes_max: int) -> None:
        self._ring = ring
        self._cutter = cutter
        self._bytes_max = bytes_max
        self._start: int | None = None
        """Where the segment that is being written begins."""
        self._wall = 0.0
        self._pending = b""
        self._current: bytes | None = None
        self._initialisations: dict[int, bytes] = {}

    def begin(self, initialisation: bytes, wall: float, *, target_seconds: float = 0.0) -> None:
        """What is written next is a segment; raise UpstreamContentError when its initialisation is too large."""
        if len(initialisation) > INITIALISATION_BYTES_MAX:
            raise UpstreamContentError(f"an initialisation of more than {INITIALISATION_BYTES_MAX} bytes")
        self._cutter.expect(target_seconds)
        self._start = self._ring.head
        self._wall = wall
        self._pending = initialisation

    def write(self, chunk: bytes, now: float) -> int:
        """Append to the segment; raise UpstreamContentError outside of one, or when it grows too large."""
        if self._start is None:
            raise UpstreamContentError("upstream sends something else after fragmented MP4; its viewers cannot follow")
        if self._ring.head + len(chunk) - self._start > self._bytes_max:
            raise UpstreamContentError(f"a segment is larger than {self._bytes_max} bytes, a quarter of the ring")
        self._ring.append(chunk, now)
        return len(chunk)

    def end(self, seconds: float) -> MediaSegment | None:
        """List the segment; None when it came so slowly that the ring has dropped its beginning."""
        start, self._start = self._start, None
        if start is None or start < self._ring.tail or start == self._ring.head:
            return None
        renewed = self._pending != self._current
        segment = self._cutter.add(start, self._ring.head, seconds=seconds, wall=self._wall, renewed=renewed)
        if renewed:
            self._current = self._pending
            self._initialisations[segment.sequence] = self._pending
        self.forget()
        return segment

    def abandon(self) -> None:
        """Of the segment that is being written no more will come."""
        self._start = None

    def forget(self) -> None:
        """Drop the initialisations that no segment needs, but the newest: the next segment may go on with it."""
        if len(self._initialisations) < 2:
            return
        needed = {segment.initialisation for segment in self._cutter.kept} | {max(self._initialisations)}
        for number in self._initialisations.keys() - needed:
            del self._initialisations[number]

    def initialisation(self, number: int) -> bytes | None:
        """Return the initialisation that begins to hold with that segment, while one that needs it is kept."""
        return self._initialisations.get(number)
