"""Fragmented MP4 through a feed: whole segments or none, their initialisations, and bounded memory."""

import m3u8
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.feed import Feed, Medium
from proxy.core.fragments import INITIALISATION_BYTES_MAX
from proxy.core.playlist import NUMBERS_BEGIN
from proxy.errors import UpstreamContentError
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment

RING_BYTES = 64 * 1024
NOON = NUMBERS_BEGIN + 250.0
"""Unix time of the beginning; the first number is 1000."""
FIRST, SECOND = b"\0\0\0\x08ftyp", b"\0\0\0\x09ftypx"


def feed(*, hls: bool = True) -> Feed:
    return Feed(ring_bytes_max=RING_BYTES, new_segment=MemorySegment, hls=hls, segment_seconds=2.0, window_segments=3)


def pour(one: Feed, media: bytes, now: float, *, seconds: float = 2.0, initialisation: bytes = FIRST) -> None:
    one.begin_fragment(initialisation, NOON + now)
    for at in range(0, len(media), 1000):
        assert one.write(media[at : at + 1000], now, NOON + now) == len(media[at : at + 1000])
    one.end_fragment(seconds)


def listed(one: Feed) -> m3u8.M3U8:
    return m3u8.loads(one.playlist("?v=t") or "")


def test_a_segment_is_listed_when_it_is_whole() -> None:
    one = feed()
    assert one.medium is None
    one.begin_fragment(FIRST, NOON)
    one.write(b"half", 0.0, NOON)
    assert one.medium is Medium.MP4
    assert not one.joinable
    assert one.playlist() is None
    one.write(b" and half", 0.0, NOON)
    one.end_fragment(1.96)
    assert one.joinable
    assert one.join() is None
    assert one.playlist("?v=t", ended=True) == (
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1000\n"
        '#EXT-X-MAP:URI="1000.mp4?v=t"\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:17:30.000Z\n'
        "#EXTINF:1.960,\n1000.m4s?v=t\n#EXT-X-ENDLIST\n"
    )
    segment = one.media_segment(1000)
    assert segment is not None
    assert one.media(segment) == b"half and half"
    assert one.initialisation(1000) == FIRST
    assert one.initialisation(1001) is None


def test_times_follow_the_durations_and_begin_anew_after_a_break() -> None:
    one = feed()
    for number in range(3):
        pour(one, b"x", float(number))
    one.discontinue()
    pour(one, b"y", 5.0)
    pour(one, b"y", 5.1)
    shown = listed(one)
    times = [segment.program_date_time.timestamp() - NOON for segment in shown.segments]
    assert times == [4.0, 5.0, 7.0]
    assert [bool(segment.discontinuity) for segment in shown.segments] == [False, True, False]


def test_a_new_initialisation_is_named_where_it_begins_and_kept_while_it_is_needed() -> None:
    one = feed()
    for number in range(2):
        pour(one, b"a" * 10_000, float(number))
    pour(one, b"b" * 10_000, 2.0, initialisation=SECOND)
    pour(one, b"c" * 10_000, 3.0)
    shown = listed(one)
    assert [segment.init_section.uri for segment in shown.segments] == ["1000.mp4?v=t", "1002.mp4?v=t", "1003.mp4?v=t"]
    assert (one.initialisation(1000), one.initialisation(1002), one.initialisation(1003)) == (FIRST, SECOND, FIRST)
    for number in range(4, 12):
        pour(one, b"d" * 10_000, float(number))
    assert (one.initialisation(1000), one.initialisation(1002), one.initialisation(1003)) == (None, None, FIRST)
    assert [segment.init_section.uri for segment in listed(one).segments] == ["1003.mp4?v=t"] * 3


def test_a_segment_that_breaks_off_is_none() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    one.begin_fragment(FIRST, NOON + 1)
    one.write(b"half", 1.0, NOON + 1)
    one.discontinue()
    one.end_fragment(2.0)
    one.begin_fragment(FIRST, NOON + 2)
    one.end_fragment(2.0)  # nothing in it
    pour(one, b"b", 2.0)
    shown = [one.media(one.media_segment(number)) for number in (1000, 1001)]
    assert shown == [b"a", b"b"]
    assert [bool(segment.discontinuity) for segment in listed(one).segments] == [False, True]


def test_a_segment_that_took_longer_than_the_ring_remembers_is_none() -> None:
    one = feed()
    one.begin_fragment(FIRST, NOON)
    for now in range(0, 100, 5):
        one.write(b"slow", float(now), NOON)
    one.end_fragment(2.0)
    assert not one.joinable


def test_what_the_ring_drops_while_a_segment_is_written_is_listed_no_longer() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    one.begin_fragment(FIRST, NOON + 60)
    one.write(b"b", 60.0, NOON + 60)
    assert not one.joinable
    assert one.playlist() is None


def test_initialisations_go_with_what_the_ring_drops_while_a_segment_is_written() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    pour(one, b"b", 1.0, initialisation=SECOND)
    one.begin_fragment(SECOND, NOON + 60)
    one.write(b"c", 60.0, NOON + 60)
    assert (one.initialisation(1000), one.initialisation(1001)) == (None, SECOND)
    one.end_fragment(2.0)
    assert listed(one).segments[0].init_section.uri == "1001.mp4?v=t"


def test_the_ring_remembers_as_long_as_long_segments_need() -> None:
    one = feed()
    for number in range(6):
        pour(one, b"a", number * 10.0, seconds=10.0)
    assert [segment.duration for segment in listed(one).segments] == [10.0] * 3
    assert one.media_segment(1000) is not None


def test_the_target_of_the_list_they_come_from_is_declared_with_the_first() -> None:
    one = feed()
    one.begin_fragment(FIRST, NOON, target_seconds=7.0)
    one.write(b"a", 0.0, NOON)
    one.end_fragment(4.0)
    assert listed(one).target_duration == 7
    one.begin_fragment(FIRST, NOON, target_seconds=12.0)
    one.write(b"b", 4.0, NOON)
    one.end_fragment(12.0)
    shown = listed(one)
    assert shown.target_duration == 7
    assert [segment.duration for segment in shown.segments] == [4.0, 7.0]
    pour(one, b"c", 16.0, seconds=7.3)
    times = [segment.program_date_time.timestamp() - NOON for segment in listed(one).segments]
    assert times == [0.0, 4.0, 16.0]  # what is listed as shorter than it is still takes its time
    assert [segment.duration for segment in listed(one).segments] == [4.0, 7.0, 7.3]


def test_what_is_too_large_is_refused() -> None:
    one = feed()
    with pytest.raises(UpstreamContentError, match="quarter of the ring"):
        pour(one, bytes(RING_BYTES // 4 + 1), 0.0)
    with pytest.raises(UpstreamContentError, match="initialisation"):
        one.begin_fragment(bytes(INITIALISATION_BYTES_MAX + 1), 0.0)


def test_a_feed_keeps_to_its_first_medium() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    with pytest.raises(UpstreamContentError, match="cannot follow"):
        one.write(ts.tables() * 4, 1.0, 1.0)
    other = feed()
    other.write(ts.tables() * 4, 0.0, 0.0)
    assert other.medium is Medium.TS
    with pytest.raises(UpstreamContentError, match="cannot follow"):
        other.begin_fragment(FIRST, 0.0)


def test_without_hls_there_is_nobody_to_serve() -> None:
    with pytest.raises(UpstreamContentError, match="HLS only"):
        feed(hls=False).begin_fragment(FIRST, 0.0)


def test_null_packets_are_not_put_among_fragments() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    assert one.keepalive(1.0) == 0
    assert one.head == 1


def test_a_closed_feed_takes_no_more() -> None:
    one = feed()
    pour(one, b"a", 0.0)
    one.close()
    one.begin_fragment(FIRST, 0.0)
    assert one.write(b"b", 0.0, 0.0) == 0
    one.end_fragment(2.0)
    assert one.playlist() is None
    one.end_fragment(2.0)
    other = feed()
    other.end_fragment(2.0)
    assert other.medium is None


STEPS = st.lists(
    st.tuples(st.sampled_from([FIRST, SECOND]), st.binary(max_size=RING_BYTES // 5), st.booleans(), st.floats(0, 99)),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_comes_what_is_listed_can_be_read(steps: list[tuple[bytes, bytes, bool, float]]) -> None:
    one = feed()
    written: list[bytes] = []
    targets: set[int] = set()
    for number, (initialisation, media, breaks, seconds) in enumerate(steps):
        if breaks:
            one.discontinue()
        pour(one, media, float(number), seconds=seconds, initialisation=initialisation)
        written += [media] if media else []
        assert one.head - one.tail <= RING_BYTES
        shown = listed(one)
        for segment in shown.segments:
            found = one.media_segment(int(segment.uri.split(".")[0]))
            assert found is not None
            assert one.media(found) in written
            assert one.initialisation(int(segment.init_section.uri.split(".")[0])) in (FIRST, SECOND)
            assert int(segment.duration + 0.5) <= shown.target_duration
        targets |= {shown.target_duration} if shown.segments else set()
        assert len(targets) <= 1
