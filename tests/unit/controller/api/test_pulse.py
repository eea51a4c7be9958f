"""The bell: no ring is lost, none is waited for twice."""

import asyncio

import pytest

from controller.api.pulse import Pulse

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def elapsed() -> float:
    return asyncio.get_running_loop().time()


async def test_a_ring_before_the_wait_is_not_lost() -> None:
    pulse, stopping = Pulse(), asyncio.Event()
    heard = pulse.rings
    pulse.ring()
    began = elapsed()
    await pulse.wait(heard, stopping, 60)
    assert elapsed() == began


async def test_a_ring_during_the_wait_ends_it() -> None:
    pulse, stopping = Pulse(), asyncio.Event()
    began = elapsed()
    asyncio.get_running_loop().call_later(3, pulse.ring)
    await pulse.wait(pulse.rings, stopping, 60)
    assert elapsed() - began == pytest.approx(3)


async def test_the_end_of_the_process_ends_every_wait() -> None:
    pulse, stopping = Pulse(), asyncio.Event()
    began = elapsed()
    asyncio.get_running_loop().call_later(3, stopping.set)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(pulse.wait(pulse.rings, stopping, 60))
    assert elapsed() - began == pytest.approx(3)
    await pulse.wait(pulse.rings, stopping, 60)
    assert elapsed() - began == pytest.approx(3)


async def test_silence_ends_the_wait_in_time() -> None:
    began = elapsed()
    await Pulse().wait(0, asyncio.Event(), 15)
    assert elapsed() - began == pytest.approx(15)


async def test_places_are_counted_and_given_back() -> None:
    pulse = Pulse(followers_max=1)
    with pulse.follow():
        assert (pulse.followers, pulse.is_full) == (1, True)
    assert (pulse.followers, pulse.is_full) == (0, False)
