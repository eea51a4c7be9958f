"""The beginning of a connection, held back until a decoder can begin with it.

Pure. After a break the next connection's bytes stand in the middle of a picture that refers to pictures nobody has
seen; a player that is given them shows rubbish. So they are held until a random access point comes, and passed on from
there with the tables in front. If none comes for too long, they are passed on as they are: better a late picture.
"""

from typing import Final

from proxy.core.aligner import Aligner
from proxy.core.mpegts import Indexer
from proxy.core.unread import Arrival

BLIND_SECONDS: Final = 5.0
"""A stream that shows no random access point for this long is joined anywhere."""
HELD_BYTES_MAX: Final = 8 * 1024 * 1024
"""More is not held; the oldest bytes go first."""


class Onset:
    """One connection's. ``begun`` is what to pass on, tables first, once there is something; then nothing is held."""

    def __init__(self, aligner: Aligner | None = None, *, blind_seconds: float = BLIND_SECONDS) -> None:
        self.aligner = aligner or Aligner()
        self.begun: bytes | None = None
        self.is_blind = False
        """Whether it begins anywhere, for want of a random access point."""
        self._blind_seconds = blind_seconds
        self._indexer = Indexer()
        self._held = bytearray()
        self._dropped = 0
        self._since: float | None = None

    def push(self, chunk: bytes, now: float, wall: float) -> int:
        """Take bytes as they came; return how many of them were whole packets."""
        packets = self.aligner.push(chunk)
        if not packets:
            return 0
        position = self._dropped + len(self._held)
        arrival = Arrival(position, now, wall)
        self._held += packets
        points = [p for p in self._indexer.scan(packets, [arrival]) if p.position >= self._dropped]
        if self._indexer.tables.reference is not None and self._since is None:
            self._since = now
        if points:
            self._begin(points[0].prefix, points[0].position)
        elif self._since is not None and now - self._since >= self._blind_seconds:
            self.is_blind = True
            self._begin(self._indexer.tables.packets(), position)
        elif len(self._held) > HELD_BYTES_MAX:
            self._dropped += len(self._held)
            self._held.clear()
        return len(packets)

    def _begin(self, prefix: bytes, position: int) -> None:
        self.begun = prefix + bytes(self._held[position - self._dropped :])
        self._held.clear()
