"""All MPEG-TS viewers of one feed, and the block that most of them lack: the same bytes for all who keep up.

Whoever had all at the last flush is sent the same range of the same memory file now, and nothing but the system call is
done for it alone. All others go by their own positions (``Client.flush``).
"""

import os
from collections.abc import Callable, Sequence
from typing import Final

from proxy.core.feed import Feed
from proxy.serve.client import Client

EARLY_SHARE: Final = 0.9
"""A feed that has grown may be flushed when this part of the time is over: its upstream is read at the same pace."""
LATE_SHARE: Final = 2.0
"""One that has not grown is flushed after so many times the time, for whoever could not take all."""


class Crowd:
    """The clients of one feed. ``flush_one`` hands one client what it lacks, and drops it when that fails."""

    __slots__ = ("_feed", "_flush_one", "_flushed_at", "_flushed_to", "_is_behind", "_position", "clients")

    def __init__(self, feed: Feed, flush_one: Callable[[Client, float], None]) -> None:
        self.clients: dict[Client, None] = {}
        self._feed = feed
        self._flush_one = flush_one
        self._flushed_at = 0.0
        self._position = self._flushed_to = feed.head
        self._is_behind = False

    @property
    def has_more(self) -> bool:
        """Whether somebody lacks something."""
        return self._is_behind or self._feed.head > self._flushed_to

    def due_at(self, every_seconds: float) -> float:
        """Return when to flush it: the others do not wait less because one does not take what it is given."""
        return self._flushed_at + every_seconds * (EARLY_SHARE if self._feed.head > self._flushed_to else LATE_SHARE)

    def note_behind(self) -> None:
        """Say that somebody lacks something, who was flushed alone."""
        self._is_behind = True

    def begin(self, now: float) -> tuple[Client, ...]:
        """Begin a flush; return whom it is for."""
        self._flushed_at = now
        self._position, self._flushed_to = self._flushed_to, self._feed.head
        self._is_behind = False
        return tuple(self.clients)

    def flush(self, clients: Sequence[Client], now: float) -> None:
        """Send to some of them. Nobody else may run meanwhile: descriptors could come to mean something else."""
        position, end = self._position, self._flushed_to
        piece = self._feed.ring.locate(position) if position < end else None
        if piece is None:
            self._flush_each([client for client in clients if not client.has_all], now)
            return
        source, offset, size = piece.segment.fileno(), piece.offset, min(piece.size, end - position)
        sendfile = os.sendfile
        others = []
        for client in clients:
            viewer = client.viewer
            if not client.steady or viewer.position != position or client.transport.is_closing():
                others.append(client)
                continue
            try:
                sent = sendfile(client.descriptor, source, offset, size)
            except OSError:
                others.append(client)
                continue
            if sent != size:
                client.note_partly_sent(sent)
                self._is_behind = True
                continue
            viewer.position += sent
            viewer.bytes_sent += sent
        self._flush_each(others if position + size == end else clients, now)

    def _flush_each(self, clients: Sequence[Client], now: float) -> None:
        for client in clients:
            if client in self.clients:  # others had a turn in between
                self._flush_one(client, now)
                self._is_behind = self._is_behind or not client.has_all
