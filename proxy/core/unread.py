"""Packets that readers have been given and the index has not seen: some are looked at together, which costs less.

Pure.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

CHUNKS_MAX: Final = 4
BYTES_MAX: Final = 256 * 1024
"""With so many chunks, or so many bytes, it is time to look."""


class Arrival(NamedTuple):
    """When the bytes from ``position`` on came: loop time and Unix time."""

    position: int
    now: float
    wall: float


class Unread:
    """Packets that follow each other, in the chunks that they came in."""

    __slots__ = ("_arrivals", "_chunks", "_size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._arrivals: list[Arrival] = []
        self._size = 0

    def __bool__(self) -> bool:
        return self._size > 0

    @property
    def is_full(self) -> bool:
        return len(self._chunks) >= CHUNKS_MAX or self._size >= BYTES_MAX

    def add(self, packets: bytes, arrival: Arrival) -> None:
        self._chunks.append(packets)
        self._arrivals.append(arrival)
        self._size += len(packets)

    def take(self) -> tuple[bytes, Sequence[Arrival]]:
        """Return them all as one, and when they came; none are left."""
        taken = b"".join(self._chunks), self._arrivals
        self._chunks, self._arrivals, self._size = [], [], 0
        return taken


def arrival_of(position: int, arrivals: Sequence[Arrival]) -> Arrival:
    """Return when the byte at ``position`` came, which is not before the first of them."""
    return arrivals[bisect_right(arrivals, position, key=_position) - 1]


def _position(arrival: Arrival) -> int:
    return arrival.position
