"""Which segments of a live list come next, and when it is asked for again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.hls.cursor import BACKWARD_POLLS_MAX, POLL_SECONDS_MAX, Cursor, poll_seconds
from proxy.upstream.hls.playlist import MediaPlaylist
from tests.fakes.hls_lists import listed, live, media


def numbers(cursor: Cursor, playlist: MediaPlaylist) -> list[int]:
    due, _ = cursor.due(playlist)
    for segment in due:
        cursor.passed(segment)
    return [segment.number for segment in due]


def test_a_live_playlist_is_joined_three_target_durations_before_its_end():
    assert numbers(Cursor(), listed(10, 6)) == [13, 14, 15]
    assert numbers(Cursor(), media(live(10, 8, seconds=0.5))) == [12, 13, 14, 15, 16, 17]
    assert numbers(Cursor(), listed(10, 2)) == [10, 11]


def test_a_server_may_ask_for_more_distance():
    asked = live(10, 9).replace("#EXT-X-VERSION:3", "#EXT-X-SERVER-CONTROL:HOLD-BACK=5")
    assert numbers(Cursor(), media(asked)) == [14, 15, 16, 17, 18]


def test_a_playlist_with_an_end_is_read_from_its_beginning():
    assert numbers(Cursor(), listed(0, 6, ended=True)) == [0, 1, 2, 3, 4, 5]


def test_an_empty_playlist_has_nothing_due():
    assert Cursor().due(media("#EXTM3U\n#EXT-X-TARGETDURATION:4\n")) == ((), False)


@pytest.mark.parametrize("late_by", [0, 1, 2, 3])
def test_a_late_poll_neither_skips_nor_repeats(late_by: int):
    cursor = Cursor()
    got = numbers(cursor, listed(10, 6))
    for first in range(10 + late_by, 40, late_by + 1):
        got += numbers(cursor, listed(first, 6))
    assert got == list(range(13, got[-1] + 1))


def test_what_the_window_dropped_is_lost_and_reading_goes_on_near_the_edge():
    cursor = Cursor()
    numbers(cursor, listed(10, 6))
    due, lost = cursor.due(listed(20, 6))
    assert ([segment.number for segment in due], lost) == ([23, 24, 25], True)


def test_of_a_list_that_has_ended_meanwhile_all_is_read():
    cursor = Cursor()
    numbers(cursor, listed(10, 6))
    due, lost = cursor.due(listed(20, 6, ended=True))
    assert ([segment.number for segment in due], lost) == ([20, 21, 22, 23, 24, 25], True)


def test_an_old_copy_of_the_playlist_is_waited_out():
    cursor = Cursor()
    numbers(cursor, listed(10, 6))
    for _ in range(2 * BACKWARD_POLLS_MAX):
        assert numbers(cursor, listed(8, 6)) == []
        assert numbers(cursor, listed(10, 6)) == []
    assert numbers(cursor, listed(11, 6)) == [16]


def test_numbers_that_go_back_for_good_are_a_new_run():
    cursor = Cursor()
    numbers(cursor, listed(100, 6))
    polls = [cursor.due(listed(0, 4)) for _ in range(BACKWARD_POLLS_MAX)]
    assert [len(due) for due, _ in polls] == [0, 0, 3]
    assert polls[-1][1]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=30))
def test_whatever_windows_come_nothing_is_read_twice_without_a_break(windows: list[tuple[int, int]]):
    cursor = Cursor()
    last = -1
    for first, count in windows:
        due, lost = cursor.due(listed(first, count))
        read = [segment.number for segment in due]
        for segment in due:
            cursor.passed(segment)
        if read:
            assert read == list(range(read[0], read[0] + len(read)))
            assert lost or last < 0 or read[0] == last + 1
            last = read[-1]


@pytest.mark.parametrize(
    ("count", "seconds", "had_news", "expected"),
    [
        (6, 1.0, True, 1.0),
        (6, 1.0, False, 0.5),
        (3, 0.5, True, 0.75),
        (0, 1.0, True, 1.0),
        (1, 0.1, True, 0.5),
    ],
    ids=["a target after news", "half without", "half of a window that is too short", "nothing yet", "never at once"],
)
def test_a_playlist_is_asked_for_again_at_the_pace_of_its_target(
    count: int, seconds: float, had_news: bool, expected: float
):
    assert poll_seconds(media(live(0, count, seconds=seconds)), had_news=had_news) == expected


def test_no_target_is_waited_for_without_end():
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:99999\n#EXTINF:99999,\na\n"
    assert poll_seconds(media(text), had_news=True) == POLL_SECONDS_MAX
