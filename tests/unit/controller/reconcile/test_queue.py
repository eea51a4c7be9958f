import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.reconcile.queue import REST_SECONDS_MAX, KeyQueue, Look

pytestmark = pytest.mark.looptime

RESYNC = 1000.0
SPACING = 0.0625
"""Exact in binary, as virtual time is."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def started(keys_max: int = 2000, resync: float = RESYNC) -> KeyQueue:
    """A queue after its first look, which is at everything."""
    queue = KeyQueue(
        asyncio.get_running_loop().time,
        resync_seconds=lambda: resync,
        spacing_seconds=SPACING,
        keys_max=keys_max,
    )
    assert (await queue.take()).is_full
    return queue


def now() -> float:
    return asyncio.get_running_loop().time()


async def rests(queue: KeyQueue, seconds: float = RESYNC / 2) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await queue.take()
    except TimeoutError:
        return True
    return False


async def test_bells_of_a_key_become_one_look():
    queue = await started()
    for _ in range(5):
        queue.ring(["a", "b"])
    queue.ring(["c"])
    assert await queue.take() == Look(frozenset("abc"))
    assert await rests(queue)


async def test_a_look_may_be_asked_for_later():
    queue = await started()
    began = now()
    queue.ring(["later"], after_seconds=5)
    queue.ring(["now"])
    assert await queue.take() == Look(frozenset({"now"}))
    assert queue.depth == 1
    assert await queue.take() == Look(frozenset({"later"}))
    assert now() - began == pytest.approx(5)


@pytest.mark.parametrize("delays", [(5, 1), (1, 5)], ids=["the earlier rings last", "the earlier rings first"])
async def test_the_earlier_bell_of_a_key_wins(delays):
    queue = await started()
    began = now()
    for delay in delays:
        queue.ring(["a"], after_seconds=delay)
    assert await queue.take() == Look(frozenset("a"))
    assert now() - began == pytest.approx(1)
    assert await rests(queue)


async def test_looks_keep_their_distance():
    queue = await started()
    times = []
    for key in "abc":
        queue.ring([key])
        await queue.take()
        times.append(now())
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([SPACING] * 2)


async def test_everything_is_looked_at_again_and_again():
    queue = await started(resync=10)
    began = now()
    looks = [await queue.take() for _ in range(3)]
    assert looks == [Look(None)] * 3
    assert now() - began == pytest.approx(30)


async def test_a_full_look_can_be_asked_for_and_answers_what_is_due():
    queue = await started()
    began = now()
    queue.ring(["a"])
    queue.ring_all()
    assert (await queue.take()).is_full
    assert queue.depth == 0
    queue.ring_all(after_seconds=7)
    assert (await queue.take()).is_full
    assert now() - began == pytest.approx(7 + SPACING)
    assert await rests(queue)


async def test_a_full_look_leaves_what_is_due_later():
    queue = await started()
    queue.ring(["a"], after_seconds=5)
    queue.ring_all()
    assert (await queue.take()).is_full
    assert await queue.take() == Look(frozenset("a"))


async def test_a_later_full_look_does_not_delay_the_next():
    queue = await started(resync=10)
    began = now()
    queue.ring_all(after_seconds=100)
    await queue.take()
    assert now() - began == pytest.approx(10)


async def test_a_key_that_rings_while_it_is_looked_at_is_looked_at_again():
    queue = await started()
    queue.ring(["a"])
    assert await queue.take() == Look(frozenset("a"))
    queue.ring(["a"])
    assert await queue.take() == Look(frozenset("a"))


async def test_a_bell_wakes_who_waits():
    queue = await started()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(queue.take())
        await asyncio.sleep(3)
        queue.ring(["a"])
        began = now()
        assert await waiting == Look(frozenset("a"))
    assert now() == began


async def test_a_look_is_followed_by_a_rest_of_its_own_length():
    queue = await started()
    await asyncio.sleep(10 * SPACING)  # what the first look took
    began = now()
    queue.ring(["a"])
    assert await queue.take() == Look(frozenset("a"))
    assert now() - began == pytest.approx(10 * SPACING)


async def test_no_rest_is_longer_than_a_second():
    queue = await started()
    await asyncio.sleep(60)
    began = now()
    queue.ring(["a"])
    assert await queue.take() == Look(frozenset("a"))
    assert now() - began == pytest.approx(REST_SECONDS_MAX)


async def test_too_many_keys_become_one_full_look():
    queue = await started(keys_max=3)
    queue.ring("abc")
    assert queue.depth == 3
    queue.ring("d")
    assert queue.depth == 0
    assert (await queue.take()).is_full
    assert await rests(queue)


async def test_too_many_keys_for_later_are_not_kept_either():
    queue = await started(keys_max=3)
    began = now()
    queue.ring("abcd", after_seconds=4)
    assert queue.depth == 0
    assert (await queue.take()).is_full
    assert now() - began == pytest.approx(4)
    assert await rests(queue)


bell = st.tuples(
    st.integers(0, 60),
    st.one_of(st.none(), st.frozensets(st.sampled_from("abcdef"), min_size=1)),
    st.sampled_from([0, 0, 0, 10, 40]),
)


@given(bells=st.lists(bell, max_size=25), work=st.integers(0, 15), keys_max=st.integers(1, 6))
def test_no_bell_is_lost(bells, work, keys_max):
    """Every bell is followed by a look that began after it, in time, whatever else rings. A tick is the spacing.

    In time: after the look that is under way, and a rest of the same length.
    """
    clock = Clock()
    queue = KeyQueue(clock, resync_seconds=lambda: RESYNC, spacing_seconds=1, keys_max=keys_max)
    looks: list[tuple[int, Look]] = []
    free_at = 0
    for tick in range(200):
        clock.now = tick
        for _, keys, delay in [entry for entry in bells if entry[0] == tick]:
            if keys is None:
                queue.ring_all(delay)
            else:
                queue.ring(keys, delay)
        assert queue.depth <= keys_max
        if tick >= free_at and (look := taken_now(queue)) is not None:
            looks.append((tick, look))
            free_at = tick + work
    for at, keys, delay in bells:
        for key in keys or [None]:
            answers = [when for when, look in looks if when >= at and (look.is_full or (key and key in look.keys))]
            assert answers, f"{key} rung at {at}, for {delay} later"
            assert answers[0] <= at + delay + max(2 * work, 1)


def taken_now(queue: KeyQueue) -> Look | None:
    """What ``take`` returns without waiting."""
    taking = queue.take()
    try:
        taking.send(None)
    except StopIteration as done:
        return done.value
    except RuntimeError:
        return None  # it would wait, and there is no loop to wait in
    taking.close()
    return None
