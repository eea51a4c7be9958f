"""An answer is never older than its question, and a crowd costs two runs."""

import asyncio

import pytest

from controller.api.sharing import Shared

pytestmark = pytest.mark.looptime


class Work:
    """Takes a second, and returns when it began."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails = False

    async def __call__(self) -> float:
        self.runs += 1
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        if self.fails:
            raise ValueError
        return began


async def test_a_crowd_shares_the_run_that_begins_after_all_of_it_came():
    work = Work()
    shared = Shared(work)
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(shared.get())
        await asyncio.sleep(0.5)
        crowd = [group.create_task(shared.get()) for _ in range(20)]
    assert await first == began
    assert {await one for one in crowd} == {began + 1}
    assert work.runs == 2


async def test_nobody_gets_an_answer_from_before_the_question():
    shared = Shared(Work())
    for _ in range(3):
        asked = asyncio.get_running_loop().time()
        assert await shared.get() >= asked


async def test_a_failure_is_told_to_who_ran_it_and_the_next_one_tries_again():
    work = Work()
    shared = Shared(work)
    work.fails = True
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_failed(shared))
        await asyncio.sleep(0.5)
        second = group.create_task(shared.get())
        await asyncio.sleep(0.6)
        work.fails = False
    assert await waiting
    assert await second > 0
    assert work.runs == 2


async def test_who_gives_up_while_running_stops_nobody_else():
    work = Work()
    shared = Shared(work)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(shared.get())
        await asyncio.sleep(0.5)
        second = group.create_task(shared.get())
        await asyncio.sleep(0)
        running.cancel()
    assert await second > 0
    assert work.runs == 2


async def _failed(shared: Shared[float]) -> bool:
    try:
        await shared.get()
    except ValueError:
        return True
    return False
