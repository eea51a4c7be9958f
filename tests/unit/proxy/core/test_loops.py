import subprocess
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.feed import Feed
from proxy.core.loops import AGAIN_UNITS_MAX, PICTURES_MAX, UNITS_MAX, Loops
from proxy.upstream import demo
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment


class Film:
    """Shows units, named by what is in them, to whoever looks for loops."""

    def __init__(self) -> None:
        self.loops = Loops()
        self.position = 0
        self.now = 0.0

    def play(self, units: Iterable[object]) -> bool:
        """Return whether a loop is known when all have been seen."""
        for unit in units:
            key, other = self.position, self.position + 1
            self.loops.see([(key, b"key %r" % unit), (other, b"other %r" % unit)], [key], self.now)
            self.position += 2
            self.now += 2.0
        return self.loops.found is not None


def test_a_sequence_that_comes_again_and_again_is_a_loop():
    film = Film()
    assert not film.play([*"abcd", *"abcd"])  # once more: a replay
    assert film.play([*"abcd", "a"])
    assert film.loops.found is not None
    assert (film.loops.found.units, film.loops.found.seconds) == (4, 8.0)


def test_a_long_one_need_not_come_three_times():
    film = Film()
    assert not film.play([*range(500), *range(500)])
    assert film.play(range(AGAIN_UNITS_MAX + 1))


@pytest.mark.parametrize(
    "units",
    [
        pytest.param("a" * 500, id="a picture that stands still"),
        pytest.param("ab" * 250, id="the same, whose encoder numbers its pictures by turns"),
        pytest.param([*range(100), *range(90, 200), *range(190, 300)], id="a replay of the last seconds with each reconnect"),
        pytest.param([*range(50), *"ad", *range(50, 100), *"ad", *range(100, 150), *"ad"], id="a trailer between"),
        pytest.param(range(3 * UNITS_MAX), id="no picture twice"),
    ],
)  # fmt: skip
def test_what_is_no_loop(units: Iterable[object]):
    assert not Film().play(units)


def test_a_loop_with_a_still_picture_in_it_is_found():
    assert Film().play([*"aaabcd"] * 4)


def test_a_loop_longer_than_what_is_remembered_is_not_found():
    film = Film()
    assert not film.play([*range(UNITS_MAX + 10)] * 3)
    assert len(film.loops._newest) <= 2 * UNITS_MAX + 1


def test_a_loop_is_over_after_fresh_pictures_and_not_after_a_fault():
    film = Film()
    assert film.play([*"abcd"] * 4)
    since = film.loops.found
    assert film.play(["x", *"bcd"])  # one picture was damaged
    assert film.loops.found is since
    assert not film.play(range(5))


def test_another_upstream_is_looked_at_anew_and_the_loop_counts_until_it_shows_something_fresh():
    film = Film()
    film.play([*"abcdefgh"] * 4)
    before = film.loops.found
    film.loops.follow(1)
    assert film.play("ijk")
    assert film.play([*"ijk"] * 3)  # it loops, too
    assert film.loops.found is not None
    assert before is not None
    assert (film.loops.found.upstream_index, film.loops.found.since) == (1, before.since)
    film.loops.follow(0)
    assert film.play(range(6))
    assert not film.play(range(6, 11))


def test_a_unit_that_was_interrupted_does_not_count():
    film = Film()
    for _ in range(5):
        film.play("abc")
        film.loops.interrupt()  # the connection ends in the middle of c
    assert not film.loops.found  # a b, a b, ...: too few different ones
    for _ in range(4):
        film.play("abcde")
        film.loops.interrupt()
    assert film.loops.found


@given(st.integers(3, 40), st.integers(0, 30), st.randoms())
def test_every_varied_loop_is_found_within_three_rounds_and_some(length: int, before: int, random: Random):
    units = [f"u{random.randrange(4)}" for _ in range(length)]
    units[:3] = ["x", "y", "z"]
    film = Film()
    film.play(f"before {number}" for number in range(before))
    assert film.play(units * 4)


def test_little_is_kept_of_what_has_no_random_access_point():
    loops = Loops()
    loops.see([(number, b"x") for number in range(100)], [], 0.0)
    assert len(loops._pictures) < 10
    loops.see([(100, b"key")], [100], 0.0)
    for number in range(101, 10_000):
        loops.see([(number, b"x")], [], 0.0)
    assert len(loops._pictures) <= PICTURES_MAX


# On real media


def feed() -> Feed:
    one = Feed(ring_bytes_max=4 * 1024 * 1024, new_segment=MemorySegment, hls=True)
    one.watch_loops(0)
    return one


def found(one: Feed) -> bool:
    return one.loops is not None and one.loops.found is not None


def test_clocks_that_were_rewritten_hide_no_loop():
    one, clip = feed(), demo.load()
    rounds = []
    for number in range(4):
        content = clip.round(number)
        for at in range(0, len(content), 20_000):
            one.write(content[at : at + 20_000], number * 6.4 + at / 27_000, 0.0)
        rounds.append(found(one))
    assert rounds == [False, False, False, True]
    assert one.loops is not None
    assert one.loops.found is not None
    assert one.loops.found.seconds == pytest.approx(6.4, abs=1)


def test_where_pictures_may_come_again_nobody_looks():
    one = feed()
    one.watch_loops(None)
    for number in range(4):
        one.write(demo.load().round(number), number * 6.4, 0.0)
    assert one.loops is None


@pytest.mark.parametrize(
    "picture", ["color=black:s=320x180:r=25", "testsrc2=s=320x180:r=25,trim=end_frame=1,loop=-1:1"]
)
def test_a_camera_that_sees_nothing_move_is_no_loop(picture: str):
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-t", "40", "-c:v", "libx264", "-g", "25"]
    done = subprocess.run([*command, "-preset", "ultrafast", "-f", "mpegts", "-"], capture_output=True, check=True)
    one = feed()
    for at in range(0, len(done.stdout), 20_000):
        one.write(done.stdout[at : at + 20_000], at / 20_000, 0.0)
    assert len(one.ring.points) > 20
    assert not found(one)


def test_scrambled_pictures_say_nothing():
    one = feed()
    for number in range(200):
        packet = bytearray(ts.picture(ts.KEY_H264, number & 15, marked=True))
        packet[3] |= 0x80
        one.write(ts.tables() + bytes(packet) * 2, float(number), 0.0)
    assert not found(one)
