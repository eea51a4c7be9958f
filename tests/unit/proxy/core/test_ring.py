from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.mpegts import RandomAccess
from proxy.core.ring import POINT_BYTES_MAX, POINTS_MAX, Ring
from tests.fakes.memory_segment import MemorySegment

BYTES_MAX = 8 * 188 * 2


def ring(bytes_max: int = BYTES_MAX, seconds_max: float = 1e9) -> Ring:
    return Ring(bytes_max=bytes_max, seconds_max=seconds_max, new_segment=MemorySegment)


def point(position: int) -> RandomAccess:
    return RandomAccess(position, b"", None, None, 0.0, 0.0)


@given(st.lists(st.binary(max_size=2000), max_size=30), st.integers(0, 30_000), st.integers(0, 8000))
def test_what_is_read_is_what_was_written_there(blocks: list[bytes], position: int, size: int) -> None:
    held = ring()
    for number, block in enumerate(blocks):
        held.append(block, float(number))
        assert held.head - held.tail <= BYTES_MAX
        assert len(held._held) <= 8
    written = b"".join(blocks)
    assert held.head == len(written)
    got = held.read(position, size)
    if size and (position < held.tail or position > held.head):
        assert got is None
    else:
        assert got == written[position : position + size]
    held.close()
    assert held.tail == held.head


@given(st.lists(st.tuples(st.binary(max_size=900), st.floats(0, 30)), max_size=40))
def test_storage_is_given_back(writes: list[tuple[bytes, float]]) -> None:
    before = MemorySegment.open_count
    held = ring(seconds_max=10)
    now = 0.0
    for block, pause in writes:
        now += pause
        held.append(block, now)
        assert MemorySegment.open_count - before <= 8
    held.close()
    held.close()
    assert MemorySegment.open_count == before


def test_a_reader_that_was_lapped_is_told() -> None:
    held = ring()
    held.append(bytes(BYTES_MAX), 0.0)
    assert held.locate(0) is not None
    held.append(bytes(1), 0.0)
    assert held.tail == 376
    assert held.locate(0) is None
    assert held.locate(375) is None
    assert held.read(0, 1) is None
    assert held.read(375, 10) is None
    assert held.locate(376) is not None


def test_at_the_head_there_is_nothing_yet() -> None:
    held = ring()
    assert held.locate(0) == held.locate(0)
    piece = held.locate(0)
    assert piece is not None
    assert piece.size == 0
    assert piece.segment.read(0, 10) == b""
    assert piece.segment.fileno() == -1
    piece.segment.close()
    with pytest.raises(ValueError, match="b'x'"):
        piece.segment.append(b"x")
    assert held.locate(1) is None


def test_bytes_grow_old() -> None:
    held = ring(seconds_max=8.0)
    held.append(b"a" * 100, 0.0)
    held.append(b"b" * 100, 0.5)
    assert held._held[0].size == 200  # young segments are filled on
    held.append(b"c" * 100, 2.0)
    assert held.tail == 0
    held.append(b"d" * 100, 9.0)
    assert held.tail == 200
    assert held.read(200, 200) == b"c" * 100 + b"d" * 100


def test_points_go_with_their_bytes() -> None:
    held = ring()
    assert held.newest_point is None
    held.append(bytes(500), 0.0)
    held.add_point(point(0))
    held.add_point(point(400))
    held.add_point(point(300))  # behind the newest
    assert [p.position for p in held.points] == [0, 400]
    held.append(bytes(BYTES_MAX - 400), 0.0)
    assert held.tail == 376
    assert held.newest_point == point(400)
    held.append(bytes(400), 0.0)
    assert held.newest_point is None
    held.add_point(point(10))  # dropped already
    assert held.points == ()


@pytest.fixture
def seconds() -> Ring:
    """Eighty bytes, ten a second, with a point at each of them but the first."""
    held = ring(bytes_max=8 * 188)
    for second in range(8):
        held.append(bytes(10), float(second))
        if second:
            held.add_point(replace(point(10 * second), at=float(second)))
    return held


@pytest.mark.parametrize(
    ("at", "position", "bytes_max", "found"),
    [
        pytest.param(7.0, 80, 80, 70, id="nothing asked for is the newest"),
        pytest.param(4.5, 80, 80, 40, id="at least so old"),
        pytest.param(7.0, 45, 80, 40, id="at least so far back"),
        pytest.param(2.0, 45, 80, 20, id="the further of both"),
        pytest.param(-9.0, 80, 80, 10, id="the oldest when none is old enough"),
        pytest.param(-9.0, 80, 35, 50, id="no more bytes than are granted"),
        pytest.param(4.0, 80, 0, 70, id="the newest when nothing is granted"),
    ],
)
def test_a_point_behind_live_is_found(seconds: Ring, at: float, position: int, bytes_max: int, found: int) -> None:
    point_found = seconds.point_behind(at=at, position=position, bytes_max=bytes_max)
    assert point_found is not None
    assert point_found.position == found


def test_a_point_that_the_next_drop_would_take_is_not_begun_at() -> None:
    held = ring()
    held.append(bytes(BYTES_MAX), 0.0)
    held.add_point(point(100))
    held.add_point(point(500))
    found = held.point_behind(at=0.0, position=0, bytes_max=BYTES_MAX)
    assert found == point(500)
    assert ring().point_behind(at=0.0, position=0, bytes_max=1) is None


def test_the_index_is_bounded() -> None:
    held = ring()
    held.append(bytes(3000), 0.0)
    wide = ring(bytes_max=POINTS_MAX * 8)
    wide.append(bytes(POINTS_MAX * 4), 0.0)
    for position in range(POINTS_MAX + 10):
        wide.add_point(point(position))
    assert len(wide.points) == POINTS_MAX


def test_the_tables_of_all_points_are_bounded_too() -> None:
    tables = bytes(188 * 200)
    wide = ring(bytes_max=POINTS_MAX * 8)
    wide.append(bytes(1000), 0.0)
    for position in range(1000):
        wide.add_point(replace(point(position), prefix=tables))
    assert len(wide.points) == POINT_BYTES_MAX // len(tables)
    assert wide.points[-1].position == 999
    wide.close()
    assert wide.points == ()
    wide.append(bytes(10), 0.0)
    wide.add_point(replace(point(wide.head), prefix=tables))
    assert len(wide.points) == 1


def test_a_ring_too_small_for_a_packet_is_refused() -> None:
    with pytest.raises(ValueError, match="1503"):
        ring(bytes_max=188 * 8 - 1)
