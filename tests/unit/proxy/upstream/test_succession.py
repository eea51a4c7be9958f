"""Which feed is written when the medium changes. How viewers see it: ``serve/test_fragments``."""

from dataclasses import dataclass, field

import pytest

from proxy.core.feed import Feed, Medium
from proxy.errors import UpstreamContentError
from proxy.upstream.ports import PullHooks
from proxy.upstream.succession import Succession
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.sessions import spec
from tests.fakes.viewing import clip


def new_feed() -> Feed:
    return Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=True, segment_seconds=1.0)


@dataclass
class Audience:
    """What the hooks ask and tell."""

    watches_packets: bool = False
    told: list[Feed] = field(default_factory=list)

    def hooks(self) -> PullHooks:
        return PullHooks(
            on_media=lambda: None,
            on_state=lambda: None,
            on_round_failed=lambda _failed: False,
            on_recall=lambda: None,
            new_feed=new_feed,
            on_succession=self.told.append,
            leaves_nobody=lambda _medium: not self.watches_packets,
        )


def flowing(audience: Audience) -> tuple[Succession, Feed]:
    feed = new_feed()
    succession = Succession(spec(), feed, audience.hooks())
    succession.aim(Medium.TS)
    feed.write(clip(3), 1.0, 1000.0)
    return succession, feed


def fragment(feed: Feed, seconds: float = 1.0) -> None:
    feed.begin_fragment(b"init", 1001.0, target_seconds=seconds)
    feed.write(b"media", 2.0, 1001.0)
    feed.end_fragment(seconds)


def test_the_successor_takes_over_when_it_has_something_to_show() -> None:
    audience = Audience()
    succession, first = flowing(audience)
    succession.aim(Medium.MP4)
    succession.settle()
    assert succession.feed is not first
    assert audience.told == []
    fragment(succession.feed)
    succession.settle()
    assert audience.told == [succession.feed]
    assert first.hls is not None
    assert succession.feed.hls is not None
    [last], [next_] = first.hls.listed[-1:], succession.feed.hls.listed
    assert next_.sequence == last.sequence + 1
    assert next_.discontinuity


def test_the_target_that_was_shown_holds_for_the_other_medium_and_back() -> None:
    audience = Audience()
    succession, first = flowing(audience)
    assert "#EXT-X-TARGETDURATION:1\n" in (first.playlist() or "")
    succession.aim(Medium.MP4)
    fragment(succession.feed, 6.0)
    succession.settle()
    text = succession.feed.playlist() or ""
    assert "#EXT-X-TARGETDURATION:1\n" in text
    assert "#EXTINF:1.000," in text
    succession.aim(Medium.TS)
    succession.feed.write(clip(6, group=150), 3.0, 1000.0)
    succession.settle()
    text = succession.feed.playlist() or ""
    assert "#EXT-X-TARGETDURATION:1\n" in text
    assert text.count("#EXTINF:1.4") > 2


def test_one_that_has_shown_nothing_is_dropped_when_the_first_medium_comes_again() -> None:
    audience = Audience()
    succession, first = flowing(audience)
    succession.aim(Medium.MP4)
    dropped = succession.feed
    succession.aim(Medium.TS)
    assert succession.feed is first
    assert dropped.closed
    assert audience.told == []


def test_who_watches_packets_is_left_behind_only_after_a_round_that_failed() -> None:
    audience = Audience(watches_packets=True)
    succession, first = flowing(audience)
    with pytest.raises(UpstreamContentError, match="being watched"):
        succession.aim(Medium.MP4)
    assert (succession.feed, succession.aimed) == (first, Medium.TS)
    succession.starved = True
    succession.aim(Medium.MP4)
    assert succession.feed is not first


def test_what_is_not_served_as_hls_is_never_fragments() -> None:
    audience = Audience()
    succession, _ = flowing(audience)
    succession.adopt(spec(outputs=["ts"]))
    succession.starved = True
    with pytest.raises(UpstreamContentError, match="as HLS only"):
        succession.aim(Medium.MP4)
