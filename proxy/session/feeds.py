"""The feeds of one session, one after another: each opened with the upstream, or begun by another medium."""

from collections.abc import Callable

from proxy.core.feed import Feed


class Feeds:
    """``new_feed`` makes one whose breaks are counted on from the given number."""

    def __init__(self, new_feed: Callable[[int], Feed]) -> None:
        self.current: Feed | None = None
        self._new_feed = new_feed
        self._breaks = 0
        """Before the next one's first segment, in playlists of this key."""
        self._resyncs_of_the_gone = 0

    @property
    def resyncs(self) -> int:
        return self._resyncs_of_the_gone + (self.current.resyncs if self.current else 0)

    def make(self) -> Feed:
        """Return one more, which is nobody's yet."""
        return self._new_feed(self._breaks)

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
            self._resyncs_of_the_gone += self.current.resyncs
            self.current.close()
            self.current = None
