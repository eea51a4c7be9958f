"""One target duration per playlist, however key pictures, clocks and connections come and go."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import m3u8
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import limit
from proxy.core.feed import Feed
from proxy.core.mpegts import NULL_PACKET, RandomAccess
from proxy.core.playlist import FIRST_SECONDS_MAX, NUMBERS_BEGIN, PTS_CYCLE, Cutter, MediaSegment
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.viewing import clip, decode_errors

NOON = NUMBERS_BEGIN + 250.0
"""Unix time of the beginning; the first number is 1000."""
BYTES_MAX = 1 << 30
WRAP_SECONDS = PTS_CYCLE / 90_000


def point(position: int, seconds: float | None, *, blind: bool = False, at: float = 0.0) -> RandomAccess:
    pts = None if seconds is None else int(seconds * 90_000) % PTS_CYCLE
    return RandomAccess(position, b"tables", pts, None, at, NOON + at, blind=blind)


def begun(*, seconds: float = 4.0) -> Cutter:
    """One that has left its quick beginning behind; the open segment begins at 100, at second 4."""
    cut = Cutter(segment_seconds=seconds, window_segments=9)
    for position, second in ((0, 0.0), (10, 1.0), (20, 2.0), (100, 4.0)):
        cut.reach(point(position, second))
    return cut


def never() -> list[RandomAccess]:
    raise AssertionError("nobody needs to know where pictures begin")


def starts(cut: Cutter) -> list[int]:
    """Where segments begin, from the one on that was open."""
    found = [segment.start for segment in cut.listed] + ([] if cut.opened is None else [cut.opened.position])
    return [position for position in found if position >= 100]


def test_what_is_not_too_long_is_left_alone() -> None:
    cut = begun()
    limit.pass_by(cut, [], point(500, 8.4), never, bytes_max=BYTES_MAX)
    assert starts(cut) == [100]


def test_a_segment_that_gets_too_long_ends_at_the_newest_key_picture() -> None:
    cut = begun()
    keys = [point(200, 5.0), point(250, 7.0)]
    limit.pass_by(cut, keys, point(500, 8.6), never, bytes_max=BYTES_MAX)
    assert starts(cut) == [100, 250]
    assert cut.listed[-1].duration_seconds == 3.0


def test_without_a_key_picture_it_ends_where_another_picture_begins() -> None:
    cut = begun()
    places = [point(150 + number * 10, 4.0 + number, blind=True) for number in range(12)]
    limit.pass_by(cut, [], point(500, 15.5), lambda: places, bytes_max=BYTES_MAX)
    assert starts(cut) == [100, 190, 230]
    assert [segment.duration_seconds for segment in cut.listed][-2:] == [4.0, 4.0]
    assert not any(segment.discontinuity for segment in cut.listed)


def test_the_next_key_picture_ends_a_segment_that_was_begun_without_one() -> None:
    cut = begun()
    places = [point(150, 8.0, blind=True)]
    limit.pass_by(cut, [point(200, 9.0), point(210, 9.5)], point(500, 10.0), lambda: places, bytes_max=BYTES_MAX)
    assert starts(cut) == [100, 150, 200]
    assert [segment.duration_seconds for segment in cut.listed][-2:] == [4.0, 1.0]


def test_a_clock_that_leaps_is_a_discontinuity_where_it_does() -> None:
    cut = begun()
    places = [point(150, 5.0, blind=True), point(160, 65.0, blind=True, at=5.5), point(170, 66.0, blind=True)]
    limit.pass_by(cut, [point(300, 68.0)], point(500, 68.5), lambda: places, bytes_max=BYTES_MAX)
    assert starts(cut) == [100, 150, 160, 300]
    cut.interrupt(600, 9.0, None)
    assert [segment.discontinuity for segment in cut.listed][-3:] == [False, True, False]
    assert max(segment.duration_seconds for segment in cut.listed) <= 4.499


def test_pictures_out_of_order_are_not_late() -> None:
    cut = begun()
    reordered = point(150, 3.9, blind=True, at=60.0)
    limit.pass_by(cut, [], reordered, never, bytes_max=BYTES_MAX)
    limit.hold(cut, point(500, 8.6), lambda: [reordered, point(160, 8.0, blind=True)], bytes_max=BYTES_MAX)
    assert starts(cut) == [100, 160]


def test_what_cannot_be_cut_is_not() -> None:
    cut = begun()
    limit.pass_by(cut, [], point(500, 9.0), lambda: [point(100, 4.0, blind=True)], bytes_max=BYTES_MAX)
    assert starts(cut) == [100]


def test_one_that_gets_too_large_is_cut_too() -> None:
    cut = begun()
    limit.pass_by(cut, [], point(500, 5.0), lambda: [point(400, 4.8, blind=True)], bytes_max=300)
    assert starts(cut) == [100, 400]


# Whole feeds


class Stream:
    """An upstream made of pictures of one packet each, and a player that looks at the playlist all the time."""

    def __init__(
        self, *, segment_seconds: float = 4.0, stamped: bool = True, clocked: bool = True, begin: float = 1000.0
    ) -> None:
        self.feed = Feed(
            ring_bytes_max=1 << 20,
            new_segment=MemorySegment,
            hls=True,
            segment_seconds=segment_seconds,
            window_segments=4,
        )
        self.stamped, self.clocked = stamped, clocked
        self.clock, self.now, self.counter = begin, 0.0, 0
        self.held = b""
        self.targets: set[int] = set()
        self.seen: dict[int, MediaSegment] = {}

    def picture(self, step: float, *, key: bool) -> None:
        self.clock += step
        self.counter += 1
        pts = int(self.clock * 90_000) % PTS_CYCLE if self.stamped else None
        tables = ts.tables(self.counter) if key or not self.counter % 8 else b""
        clock = ts.clock(self.clock % WRAP_SECONDS) if self.clocked else b""
        self.held += tables + clock + ts.picture(ts.KEY_H264 if key else ts.OTHER_H264, self.counter, pts=pts)

    def arrive(self, seconds: float) -> None:
        """What was held is there after so long."""
        self.now += seconds
        self.feed.write(self.held + NULL_PACKET * 4, self.now, NOON + self.now)
        self.held = b""

    def look(self) -> None:
        """See that a playlist keeps the laws, and what those before it have promised."""
        text = self.feed.playlist()
        if text is None:
            return
        shown = m3u8.loads(text)
        self.targets.add(shown.target_duration)
        assert len(self.targets) == 1
        assert "INDEPENDENT" not in text
        hls = self.feed.hls
        assert hls is not None
        for segment in hls.kept:
            assert self.seen.setdefault(segment.sequence, segment) == segment
        for segment, listed in zip(shown.segments, hls.listed, strict=True):
            assert int(segment.duration + 0.5) <= shown.target_duration
            assert bool(segment.discontinuity) is listed.discontinuity
        assert [segment.uri for segment in shown.segments] == [
            f"{shown.media_sequence + number}.ts" for number in range(len(shown.segments))
        ]
        assert (shown.discontinuity_sequence or 0) == hls.listed[0].discontinuities_before

    @property
    def segments(self) -> list[MediaSegment]:
        return [self.seen[number] for number in sorted(self.seen)]

    def check(self) -> None:
        """Breaks are counted, and what continues the segment before begins where that ends.

        Between two looks there may have been segments that nobody has seen.
        """
        for one, following in pairwise(self.segments):
            assert one.start < one.end <= following.start
            if following.sequence == one.sequence + 1:
                assert following.discontinuities_before == one.discontinuities_before + one.discontinuity
                assert following.discontinuity or one.end == following.start
        for segment in self.segments:
            media = self.feed.media(segment)
            assert media is None or media[1:3] == b"\x40\x00"  # the tables first


Step = Callable[[Stream], None]


def _pictures(count: int, step: float, arrival: float, *, key: bool) -> Step:
    def play(stream: Stream) -> None:
        for number in range(count):
            stream.picture(step, key=key and number == 0)
        stream.arrive(arrival)

    return play


def _jump(seconds: float) -> Step:
    def play(stream: Stream) -> None:
        stream.clock = max(0.0, stream.clock + seconds)

    return play


def _break(seconds: float) -> Step:
    def play(stream: Stream) -> None:
        stream.held = b""
        stream.now += seconds
        stream.feed.discontinue()

    return play


def _look(stream: Stream) -> None:
    stream.look()


STEPS = st.one_of(
    st.builds(_pictures, st.integers(1, 60), st.floats(0.02, 1), st.floats(0, 3), key=st.booleans()),
    st.builds(_pictures, st.integers(1, 3), st.floats(0.02, 40), st.floats(0, 60), key=st.booleans()),
    st.builds(_jump, st.floats(-500, 500)),
    st.builds(_break, st.floats(0, 40)),
    st.just(_look),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEPS, max_size=40),
    st.sampled_from([1.0, 1.5, 4.0, 8.0]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1000.0, WRAP_SECONDS - 5.0]),
)
def test_a_playlist_keeps_its_target_whatever_comes(
    steps: list[Step], segment_seconds: float, stamped: bool, clocked: bool, begin: float
) -> None:
    stream = Stream(segment_seconds=segment_seconds, stamped=stamped, clocked=clocked, begin=begin)
    for step in steps:
        step(stream)
        stream.look()
    stream.check()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 100), min_size=2, max_size=12),
    st.integers(1, 40),
    st.sampled_from([1.0, 4.0, 6.0]),
    st.booleans(),
    st.sampled_from([1000.0, WRAP_SECONDS - 5.0]),
)
def test_an_unbroken_stream_is_listed_without_a_gap_for_as_long_as_it_is(
    groups: list[int], together: int, segment_seconds: float, stamped: bool, begin: float
) -> None:
    """Groups of pictures of up to 20 s, at five pictures a second, of which many may arrive together."""
    stream = Stream(segment_seconds=segment_seconds, stamped=stamped, begin=begin)
    pictures = [number == 0 for group in groups for number in range(group)]
    for number, key in enumerate(pictures):
        stream.picture(0.2, key=key)
        if number % together == 0:
            stream.arrive(0.2 * together)
            stream.look()
    stream.arrive(1.0)
    stream.look()
    stream.check()
    assert not any(segment.discontinuity for segment in stream.segments)
    assert all(following.sequence == one.sequence + 1 for one, following in pairwise(stream.segments))
    opened = stream.feed.hls.opened if stream.feed.hls is not None else None
    if stream.segments and opened is not None and opened.pts is not None:
        listed = sum(segment.duration_seconds for segment in stream.segments)
        assert listed == pytest.approx((opened.pts / 90_000 - begin - 0.2) % WRAP_SECONDS, abs=0.01)


def flow(stream: Stream, group: float, seconds: float, *, phase: float = 0.0) -> None:
    """Let it play in real time at five pictures a second, with a key picture in every so many seconds."""
    for number in range(int(seconds * 5)):
        stream.picture(0.2, key=(number / 5 - phase) % group < 0.1)
        stream.arrive(0.2)
        stream.look()


def told(stream: Stream) -> list[float]:
    return [round(segment.duration_seconds, 1) for segment in stream.segments]


def test_key_pictures_that_become_rare_are_cut_between_and_begin_segments_all_the_same() -> None:
    stream = Stream()
    flow(stream, 2.0, 20.0)
    stream.feed.discontinue()
    flow(stream, 10.0, 40.0)
    stream.check()
    assert stream.targets == {4}
    assert told(stream)[-6:] == [1.2, 4.4, 4.4, 1.2, 4.4, 4.4]


def test_without_any_more_key_pictures_segments_go_on() -> None:
    stream = Stream()
    flow(stream, 2.0, 10.0)
    flow(stream, 1e9, 30.0, phase=-1.0)
    stream.check()
    assert stream.targets == {4}
    assert told(stream)[-6:-1] == [4.4] * 5


def test_the_first_segment_does_not_wait_for_ever() -> None:
    stream = Stream()
    flow(stream, 1e9, 2 * FIRST_SECONDS_MAX + 2.0)
    assert stream.targets == {FIRST_SECONDS_MAX}
    assert len(stream.segments) == 2


def test_without_clocks_and_time_stamps_the_arrival_counts() -> None:
    stream = Stream(stamped=False, clocked=False)
    flow(stream, 2.0, 10.0)
    flow(stream, 1e9, 24.0, phase=-1.0)
    stream.check()
    assert stream.targets == {4}
    assert 4.0 <= min(told(stream)[-5:]) <= max(told(stream)[-5:]) < 4.5


def test_pictures_that_stand_still_are_followed_by_the_clock() -> None:
    stream = Stream()
    flow(stream, 2.0, 10.0)
    for number in range(200):
        stream.held += ts.clock(stream.clock + number / 5)
        stream.arrive(0.2)
        stream.look()
    stream.check()
    assert stream.targets == {4}
    assert 4.0 <= min(told(stream)[-5:]) <= max(told(stream)[-5:]) < 4.5


def parts(feed: Feed, segments: Iterable[MediaSegment]) -> list[bytes]:
    return [feed.media(segment) or b"" for segment in segments]


def test_over_a_blind_cut_a_real_stream_decodes_as_if_there_were_none() -> None:
    feed = Feed(ring_bytes_max=8 << 20, new_segment=MemorySegment, hls=True, segment_seconds=1.0, window_segments=9)
    assert feed.hls is not None
    feed.hls.declare(1)
    media = clip(12, group=150)
    for at in range(0, len(media), 16 * 1024):
        feed.write(media[at : at + 16 * 1024], at / 150_000, NOON)
    segments = feed.hls.listed
    assert len(segments) > 6
    assert all(one.end == following.start for one, following in pairwise(segments))
    assert max(segment.duration_seconds for segment in segments) < 1.5
    assert decode_errors(b"".join(parts(feed, segments))) == ""
