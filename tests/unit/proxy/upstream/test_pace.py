import asyncio

import pytest

from proxy.upstream import demo
from proxy.upstream.pace import LEAD_SECONDS, Pacer

pytestmark = pytest.mark.looptime


async def test_a_file_is_slowed_to_the_speed_of_its_clock():
    pacer, clip = Pacer(), demo.load()
    for number in range(5):
        content = clip.round(number)
        for at in range(0, len(content), 4000):
            await pacer.pace(content[at : at + 4000])
    assert asyncio.get_running_loop().time() == pytest.approx(5 * 6.4 - LEAD_SECONDS, abs=0.2)


async def test_a_clock_that_jumps_is_no_time_that_passes():
    pacer, clip = Pacer(), demo.load()
    for number in (0, 1000, 3):
        await pacer.pace(clip.round(number)[: 188 * 20])
    assert asyncio.get_running_loop().time() == 0


async def test_the_end_comes_when_all_has_been_played():
    pacer, clip = Pacer(), demo.load()
    await pacer.finish()
    for at in range(0, len(clip.content), 4000):
        await pacer.pace(clip.content[at : at + 4000])
    await pacer.finish()
    assert asyncio.get_running_loop().time() == pytest.approx(6.4, abs=0.2)


async def test_bytes_without_a_clock_are_not_held():
    pacer = Pacer()
    for _ in range(100):
        await pacer.pace(b"\x00" * 10_000)
    assert asyncio.get_running_loop().time() == 0
