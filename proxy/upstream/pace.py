"""Slows a file down to the speed of its own clock. Live upstreams are never held back: they are not passed here."""

import asyncio
from typing import Final

from proxy.core.aligner import Aligner
from proxy.core.mpegts import last_pcr
from proxy.core.psi import PACKET_BYTES

LEAD_SECONDS: Final = 5.0
"""So much is let through at once, and may be ahead of the clock ever after."""
JUMP_SECONDS: Final = 5.0
"""A clock that moves by more between two chunks has jumped: that is no time that passes."""
CHUNK_BYTES: Final = 16 * 1024
"""Of a file; so little that even a slow one's clock moves by less than a jump."""
PCR_HZ: Final = 27_000_000
PCR_CYCLE: Final = (1 << 33) * 300


class Pacer:
    """Follows the first programme clock (PCR, ISO/IEC 13818-1 2.4.3.5) that it meets."""

    def __init__(self, lead_seconds: float = LEAD_SECONDS) -> None:
        self._lead_seconds = lead_seconds
        self._aligner = Aligner()
        self._pid: int | None = None
        self._clock: int | None = None
        self._passed_seconds = 0.0
        self._began: float | None = None

    async def finish(self) -> None:
        """Return when all that was passed on would have been played."""
        if self._began is not None:
            await asyncio.sleep(self._began + self._passed_seconds - asyncio.get_running_loop().time())

    async def pace(self, chunk: bytes) -> None:
        """Return when the chunk, of at most CHUNK_BYTES, may be passed on."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        self._passed_seconds += self._advance(self._aligner.push(chunk))
        ahead_seconds = self._passed_seconds - (now - self._began) - self._lead_seconds
        if ahead_seconds > 0:
            await asyncio.sleep(ahead_seconds)

    def _advance(self, packets: bytes) -> float:
        if self._pid is None:
            self._pid = _first_clock_pid(packets)
        clock = None if self._pid is None else last_pcr(packets, self._pid)
        if clock is None:
            return 0.0
        before, self._clock = self._clock, clock
        seconds = 0.0 if before is None else (clock - before) % PCR_CYCLE / PCR_HZ
        return seconds if seconds <= JUMP_SECONDS else 0.0


def _first_clock_pid(packets: bytes) -> int | None:
    for at in range(0, len(packets), PACKET_BYTES):
        if packets[at + 3] & 0x20 and packets[at + 4] and packets[at + 5] & 0x10:
            return (packets[at + 1] & 0x1F) << 8 | packets[at + 2]
    return None
