"""RTP (RFC 3550) around MPEG-TS (RFC 2250): unwraps datagrams, puts them in order, counts what is missing. Pure.

Times are handed in as seconds of any clock that does not go back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 12
VERSION: Final = 2
RTCP_TYPES: Final = range(192, 224)
"""Second bytes of control packets that share the media's port (RFC 5761, section 4)."""
NUMBERS: Final = 1 << 16
HELD_MAX: Final = 64
"""So many packets wait for one that is missing, and no more."""
HOLD_SECONDS: Final = 0.1
"""So long they wait."""
DROPOUT_MAX: Final = 3000
"""A number further ahead is not a loss but another sequence, if the next one follows it (RFC 3550, A.1)."""
MISORDER_MAX: Final = 100
"""A number further behind is not late but another sequence, if the next one follows it (RFC 3550, A.1)."""


@dataclass(frozen=True, slots=True)
class Packet:
    number: int
    """Of the sequence, 16 bits."""
    source: int
    """The synchronisation source (SSRC) that counts so."""
    payload: bytes


def parse(datagram: bytes) -> Packet | None:
    """Return what an RTP packet carries, without CSRC list, extension and padding; None for anything else."""
    size = len(datagram)
    if size < HEADER_BYTES or datagram[0] >> 6 != VERSION or datagram[1] in RTCP_TYPES:
        return None
    first = datagram[0]
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if size < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    end = size
    if first & 0x20:
        if not datagram[-1]:
            return None  # the count of padding bytes counts itself
        end -= datagram[-1]
    if start > end:
        return None
    number = int.from_bytes(datagram[2:4], "big")
    return Packet(number, int.from_bytes(datagram[8:12], "big"), datagram[start:end])


class Sequencer:
    """Puts the packets of one source in order, within a small window, and passes on what is there.

    ``lost`` numbers never came in time, ``reordered`` ones came after a later one and still in time, ``late`` ones
    came twice or too late and were thrown away. ``restarts`` counts the times that the sequence began anew: what is
    passed on from then on does not continue what was passed on before.
    """

    __slots__ = ("_expected", "_held", "_held_since", "_odd", "late", "lost", "reordered", "restarts")

    def __init__(self) -> None:
        self._expected: int | None = None
        self._held: dict[int, bytes] = {}
        self._held_since = 0.0
        self._odd: int | None = None
        """The number that would make the one before it the beginning of another sequence."""
        self.lost = 0
        self.reordered = 0
        self.late = 0
        self.restarts = 0

    @property
    def due(self) -> float | None:
        """When ``flush`` has something to do; None while nothing is held."""
        return self._held_since + HOLD_SECONDS if self._held else None

    def push(self, number: int, payload: bytes, now: float) -> list[bytes]:
        """Return the payloads that may be passed on now, in order."""
        if self._expected is None:
            self._expected = number
        ahead = (number - self._expected) % NUMBERS
        if ahead == 0 and not self._held:
            self._expected = (number + 1) % NUMBERS
            self._odd = None
            return [payload]
        behind = NUMBERS - ahead
        if ahead > DROPOUT_MAX and behind > MISORDER_MAX:
            return self._doubt(number, payload)
        self._odd = None
        if ahead > DROPOUT_MAX or number in self._held:
            self.late += 1
            return []
        return self._hold(number, payload, ahead, now)

    def flush(self, now: float) -> list[bytes]:
        """Give up on what has been waited for long enough; return what may be passed on then."""
        passed: list[bytes] = []
        if self._held and now >= self._held_since + HOLD_SECONDS:
            passed += self._skip()
            self._held_since = now
        return passed

    def _hold(self, number: int, payload: bytes, ahead: int, now: float) -> list[bytes]:
        if not self._held:
            self._held_since = now
        elif ahead < max(self._distance(held) for held in self._held):
            self.reordered += 1
        self._held[number] = payload
        passed = list(self._run())
        if len(self._held) > HELD_MAX:
            passed += self._skip()
        if passed:
            self._held_since = now
        return passed

    def _doubt(self, number: int, payload: bytes) -> list[bytes]:
        """Begin anew where two in a row agree; one alone is thrown away."""
        if number != self._odd:
            self._odd = (number + 1) % NUMBERS
            self.late += 1
            return []
        self._odd = None
        self.restarts += 1
        self._held.clear()
        self._expected = (number + 1) % NUMBERS
        return [payload]

    def _distance(self, number: int) -> int:
        assert self._expected is not None
        return (number - self._expected) % NUMBERS

    def _run(self) -> Iterator[bytes]:
        """Take what follows on without a gap."""
        assert self._expected is not None
        while self._expected in self._held:
            payload = self._held.pop(self._expected)
            self._expected = (self._expected + 1) % NUMBERS
            yield payload

    def _skip(self) -> Iterator[bytes]:
        """Count what is missing before the first that is held as lost, and go on there."""
        assert self._expected is not None
        first = min(self._held, key=self._distance)
        self.lost += self._distance(first)
        self._expected = first
        yield from self._run()
