"""What of a wish to begin behind live is understood, and what is granted."""

import pytest

from proxy.core.feed import Feed
from proxy.serve.answers import RefusedError
from proxy.serve.burst import Burst, BurstLimits, find_start, parse
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment

GROUP_BYTES = len(ts.tables() + ts.picture(ts.KEY_H264))
LIMITS = BurstLimits(seconds_max=5.0, bytes_max=GROUP_BYTES * 8)


@pytest.fixture
def feed() -> Feed:
    """Twenty key pictures, one a second; the newest came at 19."""
    made = Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=False)
    for second in range(20):
        made.write(ts.tables(second) + ts.picture(ts.KEY_H264, second), float(second), 0.0)
    return made


@pytest.mark.parametrize(
    ("text", "burst"),
    [
        ("0", Burst()),
        ("8", Burst(seconds=8.0)),
        ("2.5s", Burst(seconds=2.5)),
        ("1000000b", Burst(bytes=1_000_000)),
    ],
)
def test_seconds_and_bytes_are_understood(text: str, burst: Burst) -> None:
    assert parse(text) == burst


@pytest.mark.parametrize("text", ["", "-1", "1e3", "8 s", "b", "2.5b", "4M", "nan", "99999", "\u0663", "9" * 99 + "b"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "second"),
    [
        pytest.param(None, 19, id="not asked for"),
        pytest.param("0", 19, id="nothing asked for"),
        pytest.param("2", 17, id="seconds"),
        pytest.param("2.5", 16, id="parts of seconds"),
        pytest.param("900", 14, id="no more seconds than are granted"),
        pytest.param(f"{GROUP_BYTES * 3 - 188 * 2}b", 17, id="bytes"),
        pytest.param(f"{GROUP_BYTES * 3}b", 16, id="at least so many bytes"),
        pytest.param("999999999b", 12, id="no more bytes than are granted"),
    ],
)
def test_what_is_granted(feed: Feed, text: str | None, second: int) -> None:
    start = find_start(feed, None if text is None else parse(text), LIMITS, 19.0)
    assert start is not None
    assert start.at == second


def test_an_empty_feed_has_no_start() -> None:
    empty = Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=False)
    assert find_start(empty, parse("5"), LIMITS, 0.0) is None
