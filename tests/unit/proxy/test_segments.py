import os

import pytest

from proxy.huge_pages import HUGE_BYTES, HugePages
from proxy.segments import MemfdSegment


def test_what_is_appended_can_be_read_and_sent_from() -> None:
    segment = MemfdSegment(10)
    segment.append(b"abc")
    segment.append(b"")
    segment.append(b"defg")
    assert segment.read(2, 3) == b"cde"
    assert segment.read(5, 100) == b"fg"
    assert os.fstat(segment.fileno()).st_size == 7
    segment.close()


def test_it_is_never_larger_than_it_was_made_for() -> None:
    segment = MemfdSegment(4)
    segment.append(b"abcd")
    with pytest.raises(ValueError, match="4"):
        segment.append(b"e")
    segment.close()


def test_closing_gives_the_descriptor_back_once() -> None:
    segment = MemfdSegment(4)
    descriptor = segment.fileno()
    segment.close()
    segment.close()
    assert segment.fileno() == -1
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)


def test_a_segment_that_will_be_filled_lies_in_huge_pages_and_reads_as_any_other() -> None:
    block = os.urandom(300_000)
    plain = MemfdSegment(2 * HUGE_BYTES - 4)
    dense = MemfdSegment(2 * HUGE_BYTES - 4, 2 * HUGE_BYTES - 100, HugePages())
    for segment in (plain, dense):
        for at in range(0, 2 * HUGE_BYTES - len(block), len(block)):
            segment.append(block)
            assert segment.read(at, HUGE_BYTES) == block
    assert plain.read(0, 4 * HUGE_BYTES) == dense.read(0, 4 * HUGE_BYTES)
    assert os.fstat(dense.fileno()).st_blocks >= os.fstat(plain.fileno()).st_blocks
    for segment in (plain, dense):
        segment.close()


def test_one_that_stays_nearly_empty_takes_no_more_than_it_holds() -> None:
    segment = MemfdSegment(2 * HUGE_BYTES, HUGE_BYTES // 2, HugePages())
    segment.append(b"x" * 100_000)
    assert os.fstat(segment.fileno()).st_blocks * 512 < 200_000
    segment.close()
