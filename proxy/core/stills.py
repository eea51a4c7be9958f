"""The newest whole key picture of a ring, with what a decoder needs to show it: what a snapshot is made of.

Pure. Only packets of the picture's own PID are taken, and the tables of its random access point in front of them.
"""

from dataclasses import dataclass
from typing import Final

from proxy.core.mpegts import RandomAccess
from proxy.core.psi import PACKET_BYTES, payload
from proxy.core.ring import Ring

BYTES_MAX: Final = 4 * 1024 * 1024
"""A picture that is larger is not shown; key pictures of 50 Mbit/s have about a quarter of it."""
POINTS_MAX: Final = 3
"""So many of the newest points are looked at: the newest picture may not have come to its end yet."""
_VIDEO_IDS: Final = frozenset({*range(0xE0, 0xF0), 0xFD})
"""stream_id of a PES packet (ISO/IEC 13818-1, 2.4.3.7): video, and the extension that newer codecs use."""
_START: Final = 0x40
_PID: Final = 0x1F
_SCRAMBLED: Final = 0xC0


@dataclass(frozen=True, slots=True)
class Still:
    """A key picture as MPEG-TS."""

    position: int
    """Of its random access point: names it within its feed."""
    wall: float
    """Unix time when it came."""
    alone: bytes
    followed: bytes
    """It and the pictures after it: coding that refreshes a part at a time needs several to show one."""


def cut(ring: Ring) -> Still | None:
    """Return the newest key picture that is whole; None when there is none: no video, scrambled, or none yet."""
    for point in reversed(ring.points[-POINTS_MAX:]):
        block = None if point.blind else ring.read(point.position, BYTES_MAX)
        still = _cut(point, block) if block else None
        if still is not None:
            return still
    return None


def _cut(point: RandomAccess, block: bytes) -> Still | None:
    first = block[:PACKET_BYTES]
    begins = payload(first)[:4]
    if first[3] & _SCRAMBLED or begins[:3] != b"\0\0\1" or begins[3] not in _VIDEO_IDS:
        return None
    pid_high, pid_low = first[1] & _PID, first[2]
    whole = len(block) // PACKET_BYTES * PACKET_BYTES
    columns = zip(block[1:whole:PACKET_BYTES], block[2:whole:PACKET_BYTES], strict=True)
    own = [(i, high & _START) for i, (high, low) in enumerate(columns) if low == pid_low and high & _PID == pid_high]
    starts = [index for index, start in own if start]
    if len(starts) < 2:
        return None  # its end has not come, or it is too large

    def until(end: int) -> bytes:
        taken = [block[i * PACKET_BYTES : (i + 1) * PACKET_BYTES] for i, _ in own if i < end]
        return point.prefix + b"".join(taken)

    return Still(point.position, point.wall, until(starts[1]), until(starts[-1]))
