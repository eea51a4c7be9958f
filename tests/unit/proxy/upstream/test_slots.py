"""Slots by what those who hold and wait for them see, in virtual time."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from proxy.contract import Upstream
from proxy.errors import UpstreamBusyError
from proxy.upstream.slots import SETTLE_SECONDS, Slot, Slots, host_of

pytestmark = pytest.mark.looptime


def slot(number: int = 0, *, limit: int | None = None, recalled: list[int] | None = None, spare: bool = False) -> Slot:
    upstream = Upstream(url=f"http://tv.test/{number}", connections_max=limit)
    return Slot.of(upstream, lambda: recalled.append(number) if recalled is not None else None, spare=spare)


class Pulls:
    """Tasks that hold slots, and the order in which they got them."""

    def __init__(self, slots: Slots, group: asyncio.TaskGroup) -> None:
        self.slots = slots
        self.got: list[int] = []
        self.told: list[str] = []
        self.busy: list[int] = []
        self._group = group
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def begin(self, number: int, one: Slot | None = None, seconds: float = 100.0) -> None:
        self._tasks[number] = self._group.create_task(self._hold(number, one or slot(number), seconds))
        await asyncio.sleep(0.01)

    async def end(self, number: int) -> None:
        self._tasks[number].cancel()
        await asyncio.sleep(0.01)

    async def _hold(self, number: int, one: Slot, seconds: float) -> None:
        try:
            async with self.slots.hold(one, seconds, self.told.append):
                self.got.append(number)
                await asyncio.Event().wait()
        except UpstreamBusyError:
            self.busy.append(number)

    async def end_all(self) -> None:
        for number in self._tasks:
            await self.end(number)
        assert self.slots.held("tv.test:80") == 0


async def test_without_a_limit_nobody_waits() -> None:
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(), group)
        for number in range(5):
            await pulls.begin(number)
        assert pulls.got == [0, 1, 2, 3, 4]
        await pulls.end_all()


async def test_those_who_wait_come_in_the_order_in_which_they_came() -> None:
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=2), group)
        for number in range(5):
            await pulls.begin(number)
        assert pulls.got == [0, 1]
        assert pulls.told[0] == "waiting for a free connection to host tv.test:80, limit 2"
        await pulls.end(3)  # gives up
        await pulls.end(1)
        assert pulls.got == [0, 1, 2]
        await pulls.end(0)
        assert pulls.got == [0, 1, 2, 4]
        assert pulls.slots.held("tv.test:80") == 2
        await pulls.end_all()


async def test_who_waits_too_long_is_told_and_keeps_nothing() -> None:
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=1), group)
        await pulls.begin(0)
        await pulls.begin(1, seconds=5.0)
        await pulls.begin(2)
        await asyncio.sleep(6)
        assert pulls.busy == [1]
        await pulls.end(0)
        assert pulls.got == [0, 2]
        await pulls.end_all()


async def test_who_may_not_wait_is_refused_at_once() -> None:
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=1), group)
        await pulls.begin(0)
        await pulls.begin(1, seconds=0.0)
        assert (pulls.busy, pulls.told) == ([1], [])
        await pulls.end_all()


async def test_a_turn_that_comes_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    slots = Slots(limit=1)
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(slots, group)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(slots.hold(slot(), 1.0, pulls.told.append))
            await pulls.begin(1)
            await pulls.begin(2)
            pulls._tasks[1].cancel()
        await asyncio.sleep(0.01)
        assert pulls.got == [2]
        await pulls.end_all()


async def test_a_spare_one_is_called_back_by_the_first_who_waits() -> None:
    recalled: list[int] = []
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=2), group)
        await pulls.begin(0, slot(0, recalled=recalled))
        await pulls.begin(1, slot(1, recalled=recalled, spare=True))
        assert not pulls.slots.has_room(slot(9))
        assert pulls.slots.has_spare(slot(9))
        await pulls.begin(2)
        assert recalled == [1]
        await pulls.end_all()


async def test_one_that_becomes_spare_while_somebody_waits_is_called_back_at_once() -> None:
    recalled: list[int] = []
    one = slot(0, recalled=recalled)
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=1), group)
        await pulls.begin(0, one)
        pulls.slots.set_spare(one, spare=True)
        pulls.slots.set_spare(one, spare=False)
        await pulls.begin(1)
        assert recalled == []
        pulls.slots.set_spare(one, spare=True)
        assert recalled == [0]
        await pulls.end_all()


async def test_the_strictest_of_all_who_hold_counts() -> None:
    async with asyncio.TaskGroup() as group:
        pulls = Pulls(Slots(limit=3), group)
        await pulls.begin(0, slot(0, limit=1))
        await pulls.begin(1)
        assert pulls.got == [0]
        await pulls.end(0)
        assert pulls.got == [0, 1]
        await pulls.begin(2)
        await pulls.begin(3, slot(3, limit=2))
        assert pulls.got == [0, 1, 2]
        assert pulls.slots.has_room(slot(4), without=None) is False  # somebody waits
        await pulls.end_all()


async def test_a_host_settles_for_a_while_after_a_pull_was_closed() -> None:
    now = asyncio.get_running_loop().time
    for limit, settles in ((1, True), (0, False)):
        slots = Slots(limit=limit)
        assert not slots.is_settling(slot(), now())
        async with slots.hold(slot(), 1.0, str):
            pass
        assert slots.is_settling(slot(), now()) is settles
        assert not slots.is_settling(slot(), now() + SETTLE_SECONDS)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://user:pass@TV.test/live/1.ts", "tv.test:80"),
        ("https://tv.test/1.m3u8", "tv.test:443"),
        ("http://tv.test:8080/", "tv.test:8080"),
        ("rtsp://cam.test/1", "cam.test:554"),
        ("rtmp://[::1]/live", "::1:1935"),
        ("udp://239.0.0.1:1234", ""),
        ("rtp://@239.0.0.1:1234", ""),
        ("demo:", ""),
        ("file:///srv/clip.ts", ""),
        ("http://tv.test:99999/", ""),
    ],
)
async def test_what_counts_as_a_host(url: str, host: str) -> None:
    assert host_of(url) == host
