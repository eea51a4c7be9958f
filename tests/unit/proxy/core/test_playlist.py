from dataclasses import replace

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.mpegts import RandomAccess
from proxy.core.playlist import (
    KEPT_SEGMENTS_MAX,
    NUMBERS_BEGIN,
    PTS_CYCLE,
    TARGET_SECONDS_MAX,
    Cutter,
    MediaSegment,
    Playlists,
    clock_seconds,
    elapsed,
    render,
)

NOON = NUMBERS_BEGIN + 250.0
"""Unix time of the beginning; the first number is 1000."""


def point(position: int, seconds: float | None = None, *, at: float = 0.0, pcr: float | None = None) -> RandomAccess:
    pts = None if seconds is None else int(seconds * 90_000) % PTS_CYCLE
    clock = None if pcr is None else int(pcr * 27_000_000)
    return RandomAccess(position, b"tables", pts, clock, at, NOON + at)


def cutter(segment_seconds: float = 4.0, window: int = 3, discontinuities: int = 0) -> Cutter:
    return Cutter(segment_seconds=segment_seconds, window_segments=window, discontinuities=discontinuities)


def settled() -> Cutter:
    """One that has left its quick beginning behind: three segments of a second, the fourth begins at 300."""
    cut = cutter()
    for number in range(4):
        cut.reach(point(number * 100, float(number)))
    return cut


def newest(cut: Cutter) -> tuple[MediaSegment, ...]:
    return cut.listed[-3:]


def durations(cut: Cutter) -> list[float]:
    return [segment.duration_seconds for segment in newest(cut)]


def text(cut: Cutter, **extra: bool) -> m3u8.M3U8:
    return m3u8.loads(render(cut.listed, target_seconds=cut.target_seconds, **extra))


def test_segments_are_cut_at_the_first_point_that_is_far_enough() -> None:
    cut = settled()
    for second in range(4, 12):
        cut.reach(point(second * 100, float(second)))
    last = cut.listed[-1]
    assert (last.start, last.end, last.duration_seconds) == (700, 1100, 4.0)
    assert last.prefix == b"tables"
    assert last.size == 406


def test_numbers_of_the_next_feed_are_higher_however_short_the_segments_were() -> None:
    first, second = cutter(segment_seconds=1.0), cutter(segment_seconds=1.0)
    for tenth in range(0, 100, 9):
        first.reach(point(tenth, tenth / 10, at=tenth / 10))
    second.reach(point(0, 10.0, at=10.0))
    second.reach(point(1, 11.0, at=11.0))
    assert second.listed[0].sequence > first.listed[-1].sequence


def test_a_clock_that_was_never_set_numbers_from_zero() -> None:
    cut = cutter()
    for second in range(3):
        cut.reach(replace(point(second, float(second)), wall=float(second)))
    assert [segment.sequence for segment in cut.listed] == [0, 1]


def test_the_first_segments_are_short() -> None:
    assert durations(settled()) == [1.0, 1.0, 1.0]


def test_a_point_just_before_the_target_is_taken() -> None:
    cut = settled()
    cut.reach(point(400, 3.0 + 3.5))
    assert len(cut.listed) == 3
    assert (cut.opened or point(0)).position == 300
    cut.reach(point(500, 3.0 + 3.7))
    assert (cut.opened or point(0)).position == 500


@pytest.mark.parametrize(
    ("gap", "target"),
    [(0.5, 4), (1.28, 4), (2.0, 4), (3.0, 6), (3.7, 4), (5.0, 5), (10.0, 10)],
)
def test_the_target_is_right_from_the_first_playlist_on(gap: float, target: int) -> None:
    cut = cutter(window=30)
    shown = []
    for number in range(40):
        cut.reach(point(number, number * gap))
        if cut.listed:
            shown.append(cut.target_seconds)
    assert set(shown) == {target}
    assert max(durations(cut)) <= target + 0.5


def test_a_clock_that_always_jumps_does_not_cut_without_end() -> None:
    cut = cutter()
    for number in range(1000):
        cut.reach(point(number * 188, number * 1000.0, at=number / 100))
    kept = [cut.find(sequence) for sequence in range(1000, 2000)]
    found = [segment.sequence for segment in kept if segment is not None]
    assert len(found) == KEPT_SEGMENTS_MAX
    assert found[-1] == cut.listed[-1].sequence == 1998


def test_a_forced_cut_is_a_cut() -> None:
    cut = settled()
    cut.reach(point(400, 3.5), force=True)
    assert durations(cut)[-1] == 0.5


def test_the_window_slides_and_numbers_go_on() -> None:
    cut = settled()
    for position, second in ((900, 7.0), (1300, 11.0), (1700, 15.0)):
        cut.reach(point(position, second))
    shown = text(cut)
    assert shown.media_sequence == 1003
    assert [segment.uri for segment in shown.segments] == ["1003.ts", "1004.ts", "1005.ts"]
    assert shown.target_duration == 4
    assert cut.find(1000) is not None  # not listed any more, but still there
    cut.expire(150)
    assert cut.find(1000) is None
    assert cut.find(1001) is None
    assert cut.find(1002) is not None
    assert cut.find(1006) is None
    assert cut.find(5) is None


def test_a_window_of_short_segments_lists_more_of_them() -> None:
    cut = settled()
    for second in range(4, 30):
        cut.reach(point(second * 100, float(second)), force=True)
    assert len(cut.listed) == 12
    cut.expire(1700)
    assert cut.listed[0].start == 2000  # a quarter of what the ring has lies before
    cut.expire(2500)
    assert [segment.start for segment in cut.listed] == [2600, 2700, 2800]
    cut.expire(2650)
    assert [segment.start for segment in cut.listed] == [2700, 2800]


def test_when_the_ring_has_dropped_the_open_segment_the_next_one_does_not_continue() -> None:
    cut = settled()
    cut.expire(350)
    assert cut.listed == ()
    assert cut.find(1000) is None
    assert cut.opened is None
    cut.reach(point(400, 4.0))
    cut.reach(point(900, 9.0))
    assert [segment.discontinuity for segment in cut.listed] == [True]


def test_an_expired_beginning_is_no_break() -> None:
    cut = cutter()
    cut.reach(point(0, 0.0))
    cut.expire(10)
    cut.reach(point(100, 1.0))
    cut.reach(point(200, 2.0))
    assert [segment.discontinuity for segment in cut.listed] == [False]


def test_an_interruption_is_a_discontinuity_and_skips_what_cannot_be_decoded() -> None:
    cut = settled()
    cut.interrupt(350, 3.5, None)
    cut.interrupt(360, 3.6, None)
    cut.reach(point(400, 77.0, at=5.0))
    cut.reach(point(900, 82.0, at=10.0))
    ranges = [(segment.start, segment.end, segment.discontinuity) for segment in newest(cut)]
    assert ranges == [(200, 300, False), (300, 350, False), (400, 900, True)]
    shown = render(cut.listed, target_seconds=cut.target_seconds).splitlines()
    assert shown[shown.index("1003.ts") + 1] == "#EXT-X-DISCONTINUITY"
    assert cut.listed[-1].wall == NOON + 5.0


def test_discontinuities_that_have_slid_out_are_counted() -> None:
    cut = cutter(1.0, window=2, discontinuities=5)
    for number in range(6):
        cut.reach(point(number * 100, float(number)))
        cut.reach(point(number * 100 + 50, number + 1.0))
        cut.interrupt(number * 100 + 50, 0.0, None)
    shown = text(cut)
    assert [segment.discontinuity for segment in shown.segments] == [True, True, True]
    assert shown.discontinuity_sequence == 5 + 2  # of breaks before segments 1 to 5, three are shown


def test_an_interruption_before_anything_is_none() -> None:
    cut = cutter()
    cut.interrupt(0, 0.0, None)
    cut.reach(point(0, 0.0))
    cut.interrupt(0, 0.0, None)
    cut.reach(point(0, 0.0))
    cut.reach(point(100, 1.0))
    assert [segment.discontinuity for segment in cut.listed] == [False]


def test_an_interrupted_segment_is_as_long_as_its_clock_says_or_else_as_it_took() -> None:
    cut = settled()
    cut.interrupt(350, 3.5, None)
    assert durations(cut)[-1] == 3.5
    clocked = cutter()
    clocked.reach(point(0, 0.0, pcr=10.0))
    clocked.interrupt(100, 90.0, int(12.5 * 27_000_000))
    assert durations(clocked) == [2.5]


def test_a_clock_that_jumps_without_a_word_is_a_discontinuity() -> None:
    cut = settled()
    cut.reach(point(400, 5000.0, at=4.0))
    cut.reach(point(900, 5004.0, at=9.0))
    assert [segment.discontinuity for segment in newest(cut)] == [False, False, True]
    assert durations(cut) == [1.0, 4.0, 4.0]


def test_a_clock_that_leapt_further_than_a_segment_may_last_has_jumped() -> None:
    cut = settled()
    cut.reach(point(400, 60.0, at=2.5))
    cut.reach(point(900, 64.0, at=6.0))
    assert [segment.discontinuity for segment in newest(cut)] == [False, False, True]
    assert durations(cut) == [1.0, 2.5, 4.0]


def test_nothing_is_listed_as_longer_than_the_target() -> None:
    cut = settled()
    cut.interrupt(350, 90.0, None)
    assert (durations(cut)[-1], cut.target_seconds) == (4.0, 4)
    first = cutter()
    first.reach(point(0))
    first.interrupt(100, 1e6, None)
    assert (durations(first), first.target_seconds) == ([TARGET_SECONDS_MAX], TARGET_SECONDS_MAX)


@pytest.mark.parametrize(("seconds", "target"), [(0.5, 4), (4.09, 4), (4.11, 5), (7.5, 8), (10.01, 10), (9e9, 120)])
def test_what_is_expected_before_the_first_playlist_is_declared_with_it(seconds: float, target: int) -> None:
    cut = cutter()
    assert cut.declared_seconds is None
    cut.expect(seconds)
    assert cut.declared_seconds is None
    cut.reach(point(0, 0.0))
    cut.reach(point(100, 1.0))
    cut.expect(2 * seconds)
    assert cut.declared_seconds == cut.target_seconds == target


def test_a_list_that_goes_on_keeps_the_target_that_was_shown() -> None:
    former, hidden = settled(), cutter(segment_seconds=9.0)
    for shown, target in ((former, 4), (hidden, 8)):
        following = cutter(segment_seconds=8.0)
        following.follow(shown)
        assert following.target_seconds == target
    following.declare(2)
    for number in range(12):
        following.reach(point(number, number * 0.5))
    assert durations(following)[-1] == 2.0
    assert following.declared_seconds == 2


def test_a_key_picture_that_is_known_late_is_one_all_the_same() -> None:
    cut = settled()
    cut.reach(replace(point(400, 7.0), blind=True), force=True)
    cut.reach(point(400, 7.0))
    cut.reach(point(500, 8.0))
    cut.reach(point(350, 6.5))  # nothing goes back
    assert cut.opened == point(400, 7.0)
    assert cut.spare == point(500, 8.0)


def test_times_of_day_follow_the_media() -> None:
    cut = cutter()
    for number in range(4):
        cut.reach(point(number * 100, float(number), at=0.0))  # a burst: all of it arrived at once
    assert [segment.wall for segment in cut.listed] == [NOON, NOON + 1.0, NOON + 2.0]
    shown = render(cut.listed, target_seconds=4)
    assert "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:17:31.000Z" in shown


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        (None, 5, None),
        (5, None, None),
        (0, 90_000, 1.0),
        (PTS_CYCLE - 45_000, 45_000, 1.0),
        (90_000, 0, None),
        (0, 0, None),
        (0, 121 * 90_000, None),
    ],
)
def test_a_wrapping_clock(start: int | None, end: int | None, seconds: float | None) -> None:
    assert clock_seconds(start, end, 90_000, PTS_CYCLE) == seconds


def test_without_time_stamps_the_programme_clock_counts_and_else_the_arrival() -> None:
    assert elapsed(point(0, pcr=1.0), point(1, pcr=3.0)) == (2.0, False)
    assert elapsed(point(0, at=1.0), point(1, at=2.5)) == (1.5, False)
    assert elapsed(point(0, 1.0, at=1.0), point(1, at=1.0)) == (0.001, False)


def test_an_empty_playlist_is_a_playlist() -> None:
    shown = m3u8.loads(render((), target_seconds=4))
    assert shown.segments == []
    assert not shown.is_endlist


def test_a_live_playlist_never_ends_and_an_ended_one_does() -> None:
    assert not text(settled()).is_endlist
    assert text(settled(), ended=True).is_endlist
    assert render(settled().listed, target_seconds=4, query="?v=x").count(".ts?v=x") == 3


@given(st.lists(st.tuples(st.floats(0.04, 30), st.booleans()), min_size=1, max_size=60), st.floats(0.5, 10))
def test_the_laws_of_a_live_playlist(steps: list[tuple[float, bool]], segment_seconds: float) -> None:
    """There is one target, numbers never repeat or go back, and what was listed stays as it was."""
    cut = cutter(segment_seconds, window=4)
    now, position = 0.0, 0
    targets: set[int] = set()
    seen: dict[int, MediaSegment] = {}
    sequence_before = breaks_before = -1
    for step, breaks in steps:
        now, position = now + step, position + 1000
        if breaks:
            cut.interrupt(position - 500, now, None)
        cut.reach(point(position, now, at=now))
        cut.expire(position - 20_000)
        shown = text(cut)
        targets |= {shown.target_duration} if cut.listed else set()
        assert len(targets) <= 1
        length = sum(segment.duration for segment in shown.segments)
        assert len(shown.segments) <= 4 or length - shown.segments[0].duration < 3 * shown.target_duration
        left = [seen[number] for number in range(sequence_before, shown.media_sequence) if number in seen]
        lost = any(segment.start < position - 16_000 for segment in left)  # the ring has none, or soon will
        assert not left or lost or length >= 3 * shown.target_duration - 0.01
        for segment in shown.segments:
            assert int(segment.duration + 0.5) <= shown.target_duration
        for segment in cut.listed:
            assert seen.setdefault(segment.sequence, segment) == segment
            assert segment.start < segment.end
        if cut.listed:
            assert shown.media_sequence >= sequence_before
            assert (shown.discontinuity_sequence or 0) >= breaks_before
            sequence_before, breaks_before = shown.media_sequence, shown.discontinuity_sequence or 0


def test_packets_after_fragments_name_their_tables_in_the_place_of_the_initialisation() -> None:
    former = cutter()
    former.add(0, 100, seconds=1.0, wall=NOON, renewed=True)
    former.interrupt(100, 1.0, None)
    cut = cutter()
    cut.follow(former)
    for number in range(3):
        cut.reach(point(number * 100, float(number)))
    shown = render(cut.listed, target_seconds=4, tables_number=cut.tables_number, query="?v=x").splitlines()
    number = cut.listed[0].sequence
    assert "#EXT-X-VERSION:6" in shown
    assert [line for line in shown if "MAP" in line] == [f'#EXT-X-MAP:URI="{number}.psi?v=x"']
    assert cut.initialisation(number) == cut.listed[0].prefix != b""
    assert cut.initialisation(number + 1) is None
    assert f'#EXT-X-MAP:URI="{number}.psi?v=x"' in (Playlists().of(cut, "?v=x", ended=False) or "").splitlines()


def test_packets_after_packets_name_no_tables() -> None:
    cut = settled()
    after = cutter()
    after.follow(cut)
    for number in range(3):
        after.reach(point(number * 100, float(number)))
    assert after.tables_number is None
    assert after.initialisation(after.listed[0].sequence) is None
