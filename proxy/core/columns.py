"""Many packets looked at column by column: one byte of each, as a string that is searched at the speed of ``find``.

Pure. Python touches single packets only where a search says that they matter.
"""

from typing import Final

from proxy.core.psi import PACKET_BYTES

_PID_MASK: Final = bytes(value & 0x1F for value in range(256))
_IS_START: Final = bytes(value >> 6 & 1 for value in range(256))  # payload_unit_start_indicator


class Columns:
    """Many packets as byte strings that can be searched at the speed of ``bytes.find``: where units begin, and PIDs."""

    __slots__ = ("_high", "_packets", "_pids", "_starts", "count")

    def __init__(self, packets: bytes) -> None:
        self._packets = packets
        self.count = len(packets) // PACKET_BYTES
        self._high = packets[1::PACKET_BYTES]
        self._starts = self._high.translate(_IS_START)
        self._pids: bytearray | None = None
        """Made when it is asked for: mostly the few packets that begin something are all that matters."""

    def packet(self, index: int) -> bytes:
        return self._packets[index * PACKET_BYTES : (index + 1) * PACKET_BYTES]

    def pid(self, index: int) -> int:
        return (self._high[index] & 0x1F) << 8 | self._packets[index * PACKET_BYTES + 2]

    def starts(self, index: int) -> list[int]:
        """Indices of the packets at or after ``index`` that begin a unit or a section."""
        found = []
        at = self._starts.find(1, index)
        while at >= 0:
            found.append(at)
            at = self._starts.find(1, at + 1)
        return found

    def of(self, pid: int, index: int) -> list[int]:
        """Indices of the packets of ``pid`` at or after ``index``."""
        return _find_pairs(self._pairs(), pid.to_bytes(2), index)

    def first(self, pid: int, index: int) -> int:
        """Index of the first packet of ``pid`` at or after ``index``, or -1."""
        pairs, pair = self._pairs(), pid.to_bytes(2)
        at = pairs.find(pair, 2 * index)
        while at & 1 and at > 0:
            at = pairs.find(pair, at + 1)
        return at // 2 if at >= 0 else -1

    def last(self, pid: int) -> int:
        """Index of the last packet of ``pid``, or -1."""
        pairs, pair = self._pairs(), pid.to_bytes(2)
        at = pairs.rfind(pair)
        while at & 1 and at > 0:
            at = pairs.rfind(pair, 0, at + 1)
        return at // 2 if at >= 0 and not at & 1 else -1

    def pids(self) -> set[int]:
        pairs = self._pairs()
        return {high << 8 | low for high, low in set(zip(pairs[0::2], pairs[1::2], strict=True))}

    def is_start(self, index: int) -> bool:
        return bool(self._starts[index])

    def _pairs(self) -> bytearray:
        if self._pids is None:
            self._pids = bytearray(2 * self.count)
            self._pids[0::2], self._pids[1::2] = self._high.translate(_PID_MASK), self._packets[2::PACKET_BYTES]
        return self._pids


def _find_pairs(column: bytearray, pair: bytes, index: int) -> list[int]:
    found = []
    at = column.find(pair, 2 * index)
    while at >= 0:
        if at & 1:
            at = column.find(pair, at + 1)
            continue
        found.append(at // 2)
        at = column.find(pair, at + 2)
    return found
