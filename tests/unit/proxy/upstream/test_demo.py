"""The demo clip, round after round: clocks that only rise, counters without a gap."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise

import pytest

from proxy.upstream import demo

ROUNDS = 3


def packets(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), 188):
        yield content[at : at + 188]


@pytest.fixture(scope="module")
def stream() -> bytes:
    clip = demo.load()
    return b"".join(clip.round(number) for number in range(ROUNDS))


def test_the_clip_is_small_and_whole(stream: bytes):
    assert len(demo.load().content) < 300_000
    assert len(stream) % 188 == 0
    assert all(packet[0] == 0x47 for packet in packets(stream))


def test_the_first_round_is_the_clip_itself():
    assert demo.load().round(0) == demo.load().content


def test_continuity_counters_have_no_gap(stream: bytes):
    last: dict[int, int] = {}
    for packet in packets(stream):
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if packet[3] & 0x10:
            assert packet[3] & 0x0F == (last.get(pid, packet[3] - 1) + 1) & 0x0F
            last[pid] = packet[3] & 0x0F
    assert len(last) >= 4  # PAT, PMT, video, audio


def test_clocks_rise_by_the_clip_each_round():
    clip = demo.load()
    for read, places in ((demo._read_clock, clip.clocks), (demo._read_stamp, clip.stamps)):
        first, second = clip.round(0), clip.round(1)
        assert places
        assert {read(second, at) - read(first, at) for at in places} == {demo.CLIP_TICKS}


def test_the_programme_clock_never_goes_back_and_never_halts_for_long(stream: bytes):
    clip = demo.load()
    size = len(clip.content)
    times = [demo._read_clock(stream, round_ * size + at) for round_ in range(ROUNDS) for at in clip.clocks]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert min(steps) > 0
    assert max(steps) <= 0.1 * demo.TICK_HZ  # 2.7.2: at least every 100 ms


def test_stamps_wrap_at_33_bits():
    clip = demo.load()
    wrapped = clip.round((1 << 33) // demo.CLIP_TICKS + 1)
    assert all(demo._read_stamp(wrapped, at) < 1 << 33 for at in clip.stamps)
    assert all(wrapped[at] & 1 and wrapped[at + 2] & 1 and wrapped[at + 4] & 1 for at in clip.stamps)  # marker bits


@pytest.mark.looptime
async def test_it_plays_at_the_speed_of_its_clock():
    clip = demo.load()
    got = 0
    async with aclosing(demo.read()) as items:
        async for item in items:
            assert isinstance(item, bytes)
            got += len(item)
            if got >= 10 * len(clip.content):
                break
    assert asyncio.get_running_loop().time() == pytest.approx(64 - demo.LEAD_SECONDS, abs=0.3)
