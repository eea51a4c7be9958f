"""Cuts any bytes into the 188-byte packets of MPEG-TS (ISO/IEC 13818-1, 2.4.3); what is none is skipped and counted.

Pure, and fast where every byte passes: healthy input is recognised by one strided slice. What comes out does not depend
on how the bytes were cut into chunks, and how long a search through junk may take is bounded.
"""

from typing import Final

from proxy.core.psi import PACKET_BYTES, SYNC

LOCK_PACKETS: Final = 4
"""So many sync bytes in a row, 188 apart, are taken for packets: 1 false lock in some 50 million on random bytes."""
PADDING_BYTES_MAX: Final = 256
"""Bytes that may stand between all packets, always as many: error correction (204 in all), time stamps (192), junk."""
LOOKS_MAX: Final = 32
LOOK_BYTES: Final = 64
"""In a run of junk, padding is looked for so often, and once more for so many bytes: a look compares 256 distances."""
_HEAD_BYTES: Final = 4
_LOCK_BYTES: Final = PACKET_BYTES * (LOCK_PACKETS - 1) + _HEAD_BYTES
_LOCK: Final = bytes((SYNC,)) * LOCK_PACKETS
_PADDED_LOCK_BYTES: Final = (PACKET_BYTES + PADDING_BYTES_MAX) * LOCK_PACKETS + _HEAD_BYTES
_PADDED_LOCK: Final = bytes((SYNC,)) * (LOCK_PACKETS + 1)


class Aligner:
    """Cuts any bytes into whole packets; what is not packets is skipped and counted."""

    __slots__ = ("_looks", "_rest", "_skipped", "_stride", "junk_bytes", "resyncs")

    def __init__(self) -> None:
        self._rest = b""
        self._stride = 0
        """Bytes from one packet to the next; 0 while there is nothing to go by."""
        self._skipped = 0
        """Bytes of junk since the last packet, and how often padding has been looked for in them."""
        self._looks = 0
        self.junk_bytes = 0
        self.resyncs = 0

    def push(self, chunk: bytes) -> bytes:
        """Return the whole packets that are complete now; at most 1,779 bytes stay behind."""
        buffer = self._rest + chunk if self._rest else chunk
        count = len(buffer) // PACKET_BYTES
        whole = count * PACKET_BYTES
        if self._stride == PACKET_BYTES and buffer[:whole:PACKET_BYTES].count(SYNC) == count:
            self._rest = buffer[whole:]
            return buffer[:whole]
        return self._push_damaged(buffer)

    def reset(self) -> None:
        """Forget the bytes that wait for their rest: what comes next is another connection's."""
        self.junk_bytes += len(self._rest)
        self._rest = b""
        self._stride = self._skipped = self._looks = 0

    def _push_damaged(self, buffer: bytes) -> bytes:
        packets: list[bytes] = []
        while True:
            if not self._stride:
                buffer = self._search(buffer)
            if not self._stride:
                break
            syncs = buffer[: len(buffer) // self._stride * self._stride : self._stride]
            good = len(syncs) - len(syncs.lstrip(_LOCK))
            packets += self._cut(buffer, good)
            buffer = buffer[good * self._stride :]
            if good == len(syncs):
                break
            self._stride = 0
        self._rest = buffer
        return b"".join(packets)

    def _cut(self, buffer: bytes, count: int) -> list[bytes]:
        """Return ``count`` packets from the start of the buffer, without what stands between them."""
        if self._stride == PACKET_BYTES:
            return [buffer[: count * PACKET_BYTES]]
        self.junk_bytes += count * (self._stride - PACKET_BYTES)
        self.resyncs += count
        starts = range(0, count * self._stride, self._stride)
        return [buffer[start : start + PACKET_BYTES] for start in starts]

    def _search(self, buffer: bytes) -> bytes:
        """Skip to the next place that looks like packets; return what is left from there."""
        at = buffer.find(SYNC)
        while 0 <= at <= len(buffer) - _LOCK_BYTES:
            if not buffer[at + 3] & 0x30:  # no packet begins so
                at = buffer.find(SYNC, at + 1)
                continue
            if _are_packets(buffer, at, PACKET_BYTES, _LOCK):
                self._stride = PACKET_BYTES
                break
            if self._looks < LOOKS_MAX + (self._skipped + at) // LOOK_BYTES:
                if at > len(buffer) - _PADDED_LOCK_BYTES:
                    break  # too little yet to tell whether these are packets with something between them
                self._looks += 1
                self._stride = _padded_stride(buffer, at)
                if self._stride:
                    break
            at = buffer.find(SYNC, at + 1)
        skipped = len(buffer) if at < 0 else at
        self.junk_bytes += skipped
        self._skipped += skipped
        if self._stride:
            self.resyncs += self._skipped > 0
            self._skipped = self._looks = 0
        return buffer[skipped:]


def _are_packets(buffer: bytes, at: int, stride: int, syncs: bytes) -> bool:
    """Whether as many packets as there are ``syncs`` begin at ``at``, so far apart.

    None has the reserved adaptation field control 00 (2.4.3.3): a payload full of sync bytes looks as if it had.
    """
    end = at + stride * (len(syncs) - 1) + _HEAD_BYTES
    return buffer[at:end:stride] == syncs and all(byte & 0x30 for byte in buffer[at + 3 : end : stride])


def _padded_stride(buffer: bytes, at: int) -> int:
    """Return the distance at which sync bytes recur from ``at``, with padding between packets; 0 for none.

    Where packets follow each other closely from the second one on, the first was alone and nothing is padded.
    """
    first = at + PACKET_BYTES + 1
    following = buffer.find(SYNC, first, first + PADDING_BYTES_MAX)
    while following >= 0:
        stride = following - at
        if (
            buffer[following + stride] == SYNC
            and _are_packets(buffer, at, stride, _PADDED_LOCK)
            and not _are_packets(buffer, following, PACKET_BYTES, _LOCK)
        ):
            return stride
        following = buffer.find(SYNC, following + 1, first + PADDING_BYTES_MAX)
    return 0
