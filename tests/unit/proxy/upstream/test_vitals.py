"""States, ages and rates from plain numbers."""

import pytest

from proxy.contract import UpstreamState
from proxy.upstream.vitals import BITRATE_SAMPLES, Vitals


def flowing(*, last_media_at: float, quiet_seconds: float = 0.0) -> Vitals:
    return Vitals(
        state=UpstreamState.FLOWING, wanted_since=100.0, last_media_at=last_media_at, quiet_seconds=quiet_seconds
    )


@pytest.mark.parametrize(
    ("quiet", "age", "state"),
    [(0, 5, "flowing"), (0, 5.1, "stalled"), (8, 13, "flowing"), (8, 13.1, "stalled")],
)
def test_an_open_upstream_stalls_after_the_limit_and_its_own_rhythm(quiet: float, age: float, state: str):
    assert flowing(last_media_at=200, quiet_seconds=quiet).state_at(200 + age, 5) == state


def test_nothing_fails_while_it_delivers_or_is_not_wanted():
    assert flowing(last_media_at=200).failing_seconds(201, 5) is None
    assert Vitals().failing_seconds(201, 5) is None


def test_failing_counts_from_the_last_byte_or_from_the_wish():
    vitals = flowing(last_media_at=200)
    vitals.state = UpstreamState.WAITING
    assert vitals.failing_seconds(230, 5) == 30
    vitals.wanted_since = 220
    assert vitals.failing_seconds(230, 5) == 10
    assert not vitals.delivered
    vitals.last_media_at = 221
    assert vitals.delivered


def test_the_bitrate_is_a_mean_over_the_newest_samples():
    vitals = Vitals()
    assert vitals.bitrate_bps == 0
    for second in range(2 * BITRATE_SAMPLES):
        vitals.bytes_in = 1000 * second if second >= BITRATE_SAMPLES else 0
        vitals.sample(float(second))
    assert vitals.bitrate_bps == 8000
    vitals.rest()
    assert (vitals.bitrate_bps, vitals.state) == (0, UpstreamState.IDLE)
