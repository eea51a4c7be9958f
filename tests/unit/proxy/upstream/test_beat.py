import asyncio
import itertools

from proxy.upstream import beat


async def test_all_who_wait_go_on_together_and_a_cancelled_one_holds_nobody_up() -> None:
    clock = asyncio.get_running_loop().time
    heard: list[float] = []

    async def listen(beats: int) -> None:
        for _ in range(beats):
            await beat.next_beat()
            heard.append(clock())

    began = clock()
    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen(3)) for _ in range(3)]
        await asyncio.sleep(beat.BEAT_SECONDS / 2)
        late = group.create_task(listen(1))
        listeners[0].cancel()
    assert late.done()
    rounds = [heard[0:3], heard[3:5], heard[5:7]]
    assert all(max(times) - min(times) < beat.BEAT_SECONDS / 2 for times in rounds)
    starts = [began, *(min(times) for times in rounds)]
    assert all(after - before >= beat.BEAT_SECONDS * 0.9 for before, after in itertools.pairwise(starts))


async def test_a_listener_is_called_with_the_time_until_it_leaves() -> None:
    clock = asyncio.get_running_loop().time
    heard: list[float] = []
    with beat.listening(heard.append):
        for _ in range(3):
            await beat.next_beat()
    await asyncio.sleep(2 * beat.BEAT_SECONDS)
    assert len(heard) == 3
    assert all(
        abs(after - before - beat.BEAT_SECONDS) < beat.BEAT_SECONDS for before, after in itertools.pairwise(heard)
    )
    assert heard[-1] <= clock()
