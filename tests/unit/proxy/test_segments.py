import os

import pytest

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
