"""Packets that tell decoders of a jump (ISO/IEC 13818-1, 2.4.3.5), put where what follows does not continue the last.

Pure.
"""

from typing import Final

from proxy.core.columns import Columns
from proxy.core.psi import PID_NULL, SYNC

PIDS_MAX: Final = 64
BREAK_SECONDS: Final = 30.0
"""After a break, PIDs that show up within this time are announced as jumped. Service tables come every ten."""


class Break:
    """A new connection's first moments: which PIDs have been announced, and until when to look."""

    def __init__(self) -> None:
        self._until: float | None = None
        self._known: frozenset[int] = frozenset()
        self.is_over = False

    def announce(self, packets: bytes, now: float) -> bytes:
        """Put packets that tell of the break before the first ones of every PID."""
        if self._until is None:
            self._until = now + BREAK_SECONDS
        announced, self._known = announce(packets, self._known)
        self.is_over = now >= self._until
        return announced + packets


def announce(packets: bytes, known: frozenset[int] = frozenset()) -> tuple[bytes, frozenset[int]]:
    """Return packets that announce a jump on every PID in ``packets`` but the ``known`` ones, and all PIDs so far.

    Each carries the discontinuity indicator and no payload, with the counter that the PID's first packet continues, so
    that a decoder takes the jump for what it is. They go in front of ``packets``.
    """
    columns = Columns(packets)
    announced = []
    pids = columns.pids() - {PID_NULL} - known
    for pid in sorted(pids)[:PIDS_MAX]:
        control = columns.packet(columns.first(pid, 0))[3]
        announced.append(_announcement(pid, control - (1 if control & 0x10 else 0)))
    return b"".join(announced), known | pids


def announce_silent(preceding: bytes, known: frozenset[int]) -> bytes:
    """Return the same for PIDs that have not been seen behind a jump, but in these packets before its target."""
    columns = Columns(preceding)
    pids = columns.pids() - {PID_NULL} - known
    announced = [_announcement(pid, columns.packet(columns.last(pid))[3]) for pid in sorted(pids)[:PIDS_MAX]]
    return b"".join(announced)


def _announcement(pid: int, counter: int) -> bytes:
    return bytes((SYNC, pid >> 8, pid & 0xFF, 0x20 | counter & 0x0F, 183, 0x80)) + b"\xff" * 182
