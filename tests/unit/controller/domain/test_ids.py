"""Identifiers that sort by the time of their making."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.domain.ids import uuid7

MILLISECONDS = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=10)


def test_the_example_of_the_standard():
    """RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F."""
    random_bytes = bytes.fromhex("0cc3" + "18c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0, random_bytes) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@settings(deadline=None)
@given(at=MILLISECONDS, random_bytes=RANDOM)
def test_it_is_a_uuid_of_version_seven(at, random_bytes):
    parsed = UUID(uuid7(at, random_bytes))
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")
    assert parsed.int >> 80 == at


@settings(deadline=None)
@given(earlier=MILLISECONDS, later=MILLISECONDS, a=RANDOM, b=RANDOM)
def test_a_later_one_sorts_after_an_earlier_one(earlier, later, a, b):
    if earlier < later:
        assert uuid7(earlier, a) < uuid7(later, b)


def test_it_needs_ten_random_bytes():
    with pytest.raises(AssertionError):
        uuid7(0, b"short")
