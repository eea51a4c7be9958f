"""A descriptor is waited for until it can be read, until it ends, or until it is late."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from proxy.upstream.descriptors import readable


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = list(os.pipe())
    yield ends[0], ends[1]
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


async def test_what_comes_and_an_end_are_both_heard(pipe: tuple[int, int]):
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(readable(pipe[0]))
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(pipe[1], b"x")
    os.read(pipe[0], 1)
    os.close(pipe[1])
    async with asyncio.timeout(5):
        await readable(pipe[0])


async def test_it_returns_when_it_is_late(pipe: tuple[int, int]):
    now = asyncio.get_running_loop().time
    due = now() + 0.01
    await readable(pipe[0], due)
    assert now() >= due - 0.001


async def test_nothing_listens_after_a_cancellation(pipe: tuple[int, int]):
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await readable(pipe[0])
    assert not loop.remove_reader(pipe[0])
