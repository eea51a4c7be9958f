"""One MPEG-TS viewer's socket and what it has had: hands over ranges of the ring, by one rule for slow ones.

A viewer always gets whole packets: where a send stopped inside one, its rest is remembered, and a move to the newest
random access point completes it first. Nothing here waits.
"""

import os
from asyncio import WriteTransport
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from proxy.core.feed import Feed
from proxy.core.mpegts import RandomAccess
from proxy.core.psi import PACKET_BYTES
from proxy.serve import tcp
from proxy.session import Viewer

COPY_BYTES_MAX: Final = 512 * 1024
"""Where the kernel cannot send by itself (TLS), so much waits in the transport at most."""


@dataclass(frozen=True, slots=True)
class SlowRule:
    """When a viewer is too slow, and what becomes of it."""

    lag_bytes_max: int = 8 * 1024 * 1024
    """Further behind than this, it is moved to the newest random access point."""
    patience_seconds: float = 2.0
    """If it stays so far behind for so long: bursts of the upstream are not its fault."""
    moves_max: int = 3
    """So often; the next time it is dropped."""
    forgive_seconds: float = 60.0
    """A viewer that was not moved for so long starts afresh."""


class TooSlowError(Exception):
    """The viewer has used up its moves."""


class Client:
    """A viewer that is being sent to: ``head``, the HTTP head, then the feed from ``start``, by default the newest.

    ``descriptor`` is -1 where the kernel cannot send by itself. A ``steady`` one has had all there was, and nothing of
    its own is left to be sent: what it gets next is what every steady viewer of the feed gets.
    """

    __slots__ = (
        "_feed",
        "_head",
        "_late_since",
        "_moved_at",
        "_pending",
        "_rule",
        "_strikes",
        "_torn",
        "descriptor",
        "sock",
        "steady",
        "transport",
        "viewer",
    )

    def __init__(
        self,
        viewer: Viewer,
        feed: Feed,
        transport: WriteTransport,
        *,
        head: bytes,
        rule: SlowRule,
        start: RandomAccess | None = None,
    ) -> None:
        point = start or feed.join()
        assert point is not None  # the caller has waited for it
        self.viewer = viewer
        self.transport = transport
        self.sock = tcp.socket_of(transport)
        self.descriptor = self.sock.fileno() if self.sock is not None and tcp.is_plain(transport) else -1
        self.steady = False
        self._feed = feed
        self._rule = rule
        self._head = head
        self._pending = point.prefix
        self._torn = b""
        self._strikes = 0
        self._moved_at = 0.0
        self._late_since: float | None = None
        viewer.position = point.position

    @property
    def feed(self) -> Feed:
        return self._feed

    @property
    def has_all(self) -> bool:
        """Whether everything up to the ring's head has been handed over."""
        return not self._head and not self._pending and self.viewer.position >= self._feed.head

    @property
    def is_served(self) -> bool:
        """Whether it has all, and its kernel has it."""
        waiting = self.transport.get_write_buffer_size()
        return self.has_all and not waiting and (self.sock is None or not tcp.unsent_bytes(self.sock))

    def flush(self, now: float) -> None:
        """Hand over what can be taken without waiting; raise TooSlowError, or OSError when the peer is gone."""
        if self.transport.is_closing():
            return
        if self.descriptor < 0:
            self._copy(now)
        else:
            with suppress(BlockingIOError):  # the socket is full: the next flush goes on here
                self._send(self.descriptor, now)
        self._judge(now)
        self.steady = self.descriptor >= 0 and self.has_all

    def note_partly_sent(self, sent: int) -> None:
        """Count what a steady viewer has taken of a larger block; it is not steady any more."""
        self.steady = False
        self.viewer.position += sent
        self.viewer.bytes_sent += sent
        self._remember_torn()

    def _judge(self, now: float) -> None:
        """Move a viewer that has been too far behind for too long."""
        if self._feed.head - self.viewer.position <= self._rule.lag_bytes_max:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since >= self._rule.patience_seconds and self._move(now):
            self._late_since = None

    def _send(self, descriptor: int, now: float) -> None:
        viewer, ring = self.viewer, self._feed.ring
        if self._head or self._pending:
            self._send_pending(descriptor)
        while (piece := ring.locate(viewer.position)) is None or piece.size:
            if piece is None:
                if not self._move(now):
                    return
                self._send_pending(descriptor)
                continue
            sent = os.sendfile(descriptor, piece.segment.fileno(), piece.offset, piece.size)
            viewer.position += sent
            viewer.bytes_sent += sent
            self._torn = b""
            if sent < piece.size:
                self._remember_torn()
                return

    def _send_pending(self, descriptor: int) -> None:
        """Send all of it; raise BlockingIOError when the socket does not take all."""
        while self._head or self._pending:
            self._note_sent(os.write(descriptor, self._head + self._pending))

    def _note_sent(self, sent: int) -> None:
        of_head = min(sent, len(self._head))
        self._head = self._head[of_head:]
        self._pending = self._pending[sent - of_head :]
        self.viewer.bytes_sent += sent - of_head

    def _remember_torn(self) -> None:
        """Keep the rest of a packet whose beginning has been sent: the ring may drop it."""
        missing = -self.viewer.position % PACKET_BYTES
        self._torn = self._feed.ring.read(self.viewer.position, missing) or b""

    def _copy(self, now: float) -> None:
        """Hand over through the transport, whole packets at a time."""
        room = COPY_BYTES_MAX - self.transport.get_write_buffer_size()
        if room <= 0:
            return
        block = self._feed.ring.read(self.viewer.position, room // PACKET_BYTES * PACKET_BYTES)
        if block is None:
            self._move(now)
            block = b""
        self.viewer.position += len(block)
        self.viewer.bytes_sent += len(self._pending) + len(block)
        self.transport.write(self._head + self._pending + block)
        self._head = self._pending = b""

    def _move(self, now: float) -> bool:
        """Go on at the newest random access point, if there is a newer one; return whether there was."""
        point = self._feed.join()
        if point is None or point.position <= self.viewer.position:
            return False
        if now - self._moved_at > self._rule.forgive_seconds:
            self._strikes = 0
        if self._strikes >= self._rule.moves_max:
            raise TooSlowError
        self._strikes += 1
        self._moved_at = now
        self.viewer.moves += 1
        # What is pending ends with whole packets, so what is left of a torn one is its beginning.
        rest = self._pending[: len(self._pending) % PACKET_BYTES] if self._pending else self._torn
        self._pending = rest + self._feed.lead(point)
        self._torn = b""
        self.viewer.position = point.position
        return True
