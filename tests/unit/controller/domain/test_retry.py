"""Delays between tries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.domain.retry import Backoff


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (60, 30.0), (10**9, 30.0)]
)
def test_it_doubles_up_to_its_cap(attempt, seconds):
    assert Backoff().delay(attempt).total_seconds() == seconds


def test_jitter_shortens_by_up_to_a_half():
    backoff = Backoff(first_seconds=8.0)
    assert backoff.delay(0, 0.5).total_seconds() == 6.0
    assert backoff.delay(0, 0.999).total_seconds() > 4.0


@settings(deadline=None)
@given(attempt=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_it_is_never_longer_than_its_cap_and_never_nothing(attempt, jitter):
    backoff = Backoff(first_seconds=0.25, cap_seconds=10.0)
    assert 0.125 <= backoff.delay(attempt, jitter).total_seconds() <= 10.0
