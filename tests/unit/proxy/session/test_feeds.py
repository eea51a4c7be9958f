"""The feeds of a session, one after another."""

from proxy.core.feed import Feed
from proxy.session.feeds import REMEMBERED_SECONDS, Feeds
from tests.fakes.memory_segment import MemorySegment


def new_feed(breaks: int) -> Feed:
    return Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=True, discontinuities=breaks)


def test_one_is_open_until_it_is_closed_and_breaks_are_counted_on() -> None:
    feeds = Feeds(new_feed, lambda: 0.0)
    first = feeds.open()
    assert feeds.open() is first
    feeds.close()
    assert first.closed
    assert feeds.current is None
    second = feeds.open()
    assert (first.breaks, second.breaks) == (0, 1)


def shown(feed: Feed, seconds: float) -> int | None:
    """List one segment, and return the target that says so."""
    feed.begin_fragment(b"init", 1000.0)
    feed.write(b"media", 0.0, 1000.0)
    feed.end_fragment(seconds)
    return feed.hls.declared_seconds if feed.hls is not None else None


def test_the_target_of_a_playlist_that_may_still_be_known_is_kept() -> None:
    now = 1000.0
    feeds = Feeds(new_feed, lambda: now)
    assert shown(feeds.open(), 9.0) == 9
    feeds.close()
    now += REMEMBERED_SECONDS
    assert shown(feeds.open(), 20.0) == 9
    feeds.close()
    now += REMEMBERED_SECONDS + 1.0
    assert shown(feeds.open(), 20.0) == 20


def test_a_playlist_that_nobody_has_seen_binds_nobody() -> None:
    feeds = Feeds(new_feed, lambda: 0.0)
    feeds.open()
    feeds.close()
    assert shown(feeds.open(), 20.0) == 20


def test_a_successor_takes_the_place_of_the_one_before() -> None:
    feeds = Feeds(new_feed, lambda: 0.0)
    first = feeds.open()
    feeds.succeed(feeds.make())
    assert first.closed
    assert feeds.open() is feeds.current is not first
