"""The parts of the pull that are plain arithmetic; what it does is seen through sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.items import name_of
from proxy.upstream.pull import PullLimits, backoff_seconds

LIMITS = PullLimits(backoff_min=0.5, backoff_max=15)


@given(round_number=st.integers(0, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_the_delay_is_bounded_and_never_nothing(round_number: int, jitter: float):
    assert 0.25 <= backoff_seconds(round_number, LIMITS, jitter) <= 15


def test_the_delay_doubles():
    assert [backoff_seconds(number, LIMITS, 0.0) for number in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\r\n<!DOCTYPE html>", "an HTML page"),
        (b'{"error":1}', "JSON"),
        (b"<?xml version", "XML"),
        (b"\0\0\0\x18ftypmp42", "MP4"),
        (b"FLV\x01", "FLV"),
        (b"\x89PNG", "something unknown"),
    ],
)
def test_what_is_not_a_stream_is_named(head: bytes, name: str):
    assert name_of(head) == name
