"""The feeds of a session, one after another."""

from proxy.core.feed import Feed
from proxy.session.feeds import Feeds
from tests.fakes.memory_segment import MemorySegment


def new_feed(breaks: int) -> Feed:
    return Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=True, discontinuities=breaks)


def test_one_is_open_until_it_is_closed_and_breaks_are_counted_on() -> None:
    feeds = Feeds(new_feed)
    first = feeds.open()
    assert feeds.open() is first
    feeds.close()
    assert first.closed
    assert feeds.current is None
    second = feeds.open()
    assert (first.breaks, second.breaks) == (0, 1)


def test_a_successor_takes_the_place_of_the_one_before() -> None:
    feeds = Feeds(new_feed)
    first = feeds.open()
    feeds.succeed(feeds.make())
    assert first.closed
    assert feeds.open() is feeds.current is not first
