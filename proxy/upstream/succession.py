"""Which feed a pull writes: the one that viewers are given, or its successor, when what comes is of another medium.

A feed keeps its medium: whoever reads it cannot follow into another. So the other medium gets a feed of its own, which
takes the place of the first as soon as there is something to show, and goes on with the numbers of its segments. If
it comes to nothing, the first goes on. Viewers of MPEG-TS lose their stream to fragmented MP4: while there are some,
it is followed only when a whole round through the upstreams has brought nothing else.
"""

from proxy.contract import Output, SessionSpec
from proxy.core.feed import Feed, Medium
from proxy.errors import UpstreamContentError
from proxy.upstream.ports import PullHooks


class Succession:
    """See the module. ``feed`` is to be written; ``aimed`` is the medium of what is written next, None if unknown."""

    def __init__(self, spec: SessionSpec, feed: Feed, hooks: PullHooks) -> None:
        self.feed = feed
        self.aimed: Medium | None = None
        self.starved = False
        """Whether a whole round has failed since media came last."""
        self._shown = feed
        self._hooks = hooks
        self._has_hls = Output.HLS in spec.outputs

    def adopt(self, spec: SessionSpec) -> None:
        self._has_hls = Output.HLS in spec.outputs

    def check(self, medium: Medium) -> None:
        """Raise UpstreamContentError when this medium cannot be served, or not now."""
        if medium is not Medium.MP4:
            return
        if not self._has_hls:
            raise UpstreamContentError("fragmented MP4 can be served as HLS only, and this stream is not")
        if self._shown.medium is Medium.TS and not self.starved and not self._hooks.leaves_nobody(medium):
            raise UpstreamContentError("upstream sends fragmented MP4, and MPEG-TS is being watched")

    def aim(self, medium: Medium) -> None:
        """What is written next is of this medium: find a feed for it; raise what ``check`` raises."""
        if self._shown.medium in (None, medium):
            self.check(medium)
            self.drop()
        elif self.feed is self._shown or self.feed.medium not in (None, medium):
            self.check(medium)
            self.drop()
            self._shown.discontinue()
            self.feed = self._hooks.new_feed()
            self.feed.follow(self._shown)
        self.aimed = medium

    def settle(self) -> None:
        """Let the successor take over once it has something to show. For every chunk with media."""
        if self.feed is not self._shown and self.feed.presentable:
            self._shown = self.feed
            self._hooks.on_succession(self.feed)

    def drop(self) -> None:
        """Give up a successor that has not taken over."""
        if self.feed is not self._shown:
            self.feed.close()
            self.feed = self._shown
