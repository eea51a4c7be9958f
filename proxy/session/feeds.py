"""The feeds of one session, one after another: each opened with the upstream, or begun by another medium.

What viewers have seen of the playlist of one holds for that of the next, as long as somebody may still have it.
"""

from collections.abc import Callable
from typing import Final

from proxy.core.feed import Feed

REMEMBERED_SECONDS: Final = 300.0
"""So long after its end a playlist may be in a player that was paused; the next one then has its target duration."""


class Feeds:
    """``new_feed`` makes one whose breaks are counted on from the given number; ``now`` is the loop's clock."""

    def __init__(self, new_feed: Callable[[int], Feed], now: Callable[[], float]) -> None:
        self.current: Feed | None = None
        self._new_feed = new_feed
        self._now = now
        self._target_seconds: int | None = None
        """That of the last one's playlists."""
        self._closed_at = 0.0
        self._breaks = 0
        """Before the next one's first segment, in playlists of this key."""
        self._resyncs_of_the_gone = 0

    @property
    def resyncs(self) -> int:
        return self._resyncs_of_the_gone + (self.current.resyncs if self.current else 0)

    def make(self) -> Feed:
        """Return one more, which is nobody's yet."""
        feed = self._new_feed(self._breaks)
        is_remembered = self._now() - self._closed_at <= REMEMBERED_SECONDS
        if feed.hls is not None and self._target_seconds is not None and is_remembered:
            feed.hls.declare(self._target_seconds)
        return feed

    def open(self) -> Feed:
        if self.current is None:
            self.current = self.make()
        return self.current

    def succeed(self, feed: Feed) -> None:
        """Put this one in the place of the current one, which is closed."""
        self.close()
        self.current = feed

    def close(self) -> None:
        """Take the current one away, if there is one; its storage goes with its last reader."""
        if self.current is not None:
            self._breaks = self.current.breaks + 1
            hls = self.current.hls
            self._target_seconds, self._closed_at = hls.declared_seconds if hls is not None else None, self._now()
            self._resyncs_of_the_gone += self.current.resyncs
            self.current.close()
            self.current = None
