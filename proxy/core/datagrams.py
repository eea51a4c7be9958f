"""Datagrams as they come, made into runs of media: which form they have, whose they are, what is missing. Pure.

``udp:`` is MPEG-TS without a wrapping, or RTP although nobody said so: senders mix them up, and the first byte tells
them apart (0x47 is no RTP version). One sender is followed at a time, as two on one group make one broken stream.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from proxy.core import rtp
from proxy.core.psi import PACKET_BYTES, SYNC

FOREIGN_MAX: Final = 50
"""So many datagrams of others, and none of the sender that is followed in between: it is gone, follow another."""
_SYNC: Final = bytes((SYNC,))


@dataclass(frozen=True, slots=True)
class Run:
    """``broken``: the media continues nothing of what came before."""

    media: bytes
    broken: bool = False


class Intake:
    """See the module. ``rtp_only``: what is not RTP is ignored. ``source``: only this address is listened to."""

    def __init__(self, *, rtp_only: bool = False, source: str = "") -> None:
        self._rtp_only = rtp_only
        self._source = source
        self._is_rtp: bool | None = True if rtp_only else None
        self._sender: Hashable = None
        self._foreign = 0
        self._sequencer = rtp.Sequencer()
        self._pieces: list[bytes] = []
        self._runs: list[Run] = []
        self._broken = False
        self._lost_of_the_gone = 0
        self._reordered_of_the_gone = 0
        self.ignored = 0
        """Datagrams of other senders, and those that were no RTP where it was asked for."""

    @property
    def is_rtp(self) -> bool:
        return bool(self._is_rtp)

    @property
    def lost(self) -> int:
        return self._lost_of_the_gone + self._sequencer.lost

    @property
    def reordered(self) -> int:
        return self._reordered_of_the_gone + self._sequencer.reordered

    @property
    def due(self) -> float | None:
        """When ``drain`` has something to give up on, if nothing comes before."""
        return self._sequencer.due

    def take(self, datagram: bytes, host: str, port: int, now: float) -> None:
        if self._source and host != self._source:
            self.ignored += 1
            return
        packet = rtp.parse(datagram) if self._is_rtp is not False else None
        if self._is_rtp is None:
            self._is_rtp = _form(datagram, packet)
        if not self._is_rtp:
            if self._is_followed((host, port)):
                self._pieces.append(datagram)
        elif packet is None:
            self.ignored += 1
        elif self._is_followed((host, packet.source)):
            self._order(packet, now)

    def drain(self, now: float) -> list[Run]:
        """Return what has come together since the last call."""
        self._pieces += self._sequencer.flush(now)
        self._close_run()
        runs, self._runs = self._runs, []
        return runs

    def _order(self, packet: rtp.Packet, now: float) -> None:
        restarts = self._sequencer.restarts
        payloads = self._sequencer.push(packet.number, packet.payload, now)
        if self._sequencer.restarts != restarts:
            self._break()
        self._pieces += payloads

    def _is_followed(self, sender: Hashable) -> bool:
        if sender == self._sender:
            self._foreign = 0
            return True
        if self._sender is not None:
            self._foreign += 1
            if self._foreign < FOREIGN_MAX:
                self.ignored += 1
                return False
            self._break()
            self._lost_of_the_gone, self._reordered_of_the_gone = self.lost, self.reordered
            self._sequencer = rtp.Sequencer()
        self._sender = sender
        self._foreign = 0
        return True

    def _break(self) -> None:
        self._close_run()
        self._broken = True

    def _close_run(self) -> None:
        if self._pieces:
            self._runs.append(Run(b"".join(self._pieces), self._broken))
            self._pieces, self._broken = [], False


def _form(datagram: bytes, packet: rtp.Packet | None) -> bool | None:
    """Say whether a sender whose first datagram this is sends RTP; None when it cannot be told yet."""
    if datagram[:1] == _SYNC:
        return False
    if packet is None or not packet.payload or len(packet.payload) % PACKET_BYTES:
        return None
    return True if packet.payload[:1] == _SYNC else None
