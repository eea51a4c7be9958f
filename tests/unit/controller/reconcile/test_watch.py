import asyncio

import pytest

from controller.domain.retry import Backoff
from controller.reconcile import watch
from controller.reconcile.queue import Look
from proxy.contract import SessionSpec, Upstream, UpstreamState
from tests.fakes.control_room import ControlRoom
from tests.fakes.mqtt import until


def spec(key: str) -> SessionSpec:
    return SessionSpec(key=key, upstreams=(Upstream(url="http://origin/a.ts"),))


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(watch, "BACKOFF", Backoff(0.02, 0.05))


async def took(room: ControlRoom) -> Look:
    async with asyncio.timeout(10):
        return await room.queue.take()


async def rests(room: ControlRoom) -> bool:
    try:
        async with asyncio.timeout(0.3):
            await room.queue.take()
    except TimeoutError:
        return True
    return False


@pytest.fixture
def feeds(p1):
    """The connections on which the proxy was asked for its feed."""
    found = []
    watching = p1._watch

    def watch_and_tell(request):
        found.append(request.transport)
        return watching(request)

    p1._watch = watch_and_tell
    return found


@pytest.fixture
async def watched(room: ControlRoom, p1, feeds):
    """A loop that has looked at everything and follows the feed of one proxy with one session."""
    p1.inject("stream-1", spec("cam-7"), 1, 1)
    await room.observer.observe()
    assert (await took(room)).is_full
    async with room.running(room.watchers.run):
        assert (await took(room)).is_full, "a feed that was opened says nothing about what came before"
        await until(lambda: bool(p1.bells), "followed")
        assert await rests(room)
        yield room


async def test_a_change_of_a_known_session_rings_its_key(watched, p1):
    p1.flow("cam-7", UpstreamState.STALLED)
    assert await took(watched) == Look(frozenset({"cam-7"}))
    assert await rests(watched)


async def test_a_session_that_was_never_listed_rings_its_key_too(watched, p1):
    p1.inject("stream-2", spec("cam-8"), 1, 1)
    assert await took(watched) == Look(frozenset({"cam-8"}))


async def test_a_feed_that_ends_rings_everything_and_is_opened_again(watched, p1, feeds):
    p1.unreachable = True
    feeds[-1].abort()
    assert (await took(watched)).is_full
    await asyncio.sleep(0.1)
    p1.inject("stream-2", spec("cam-8"), 1, 1)
    while not await rests(watched):
        pass
    p1.unreachable = False
    assert (await took(watched)).is_full, "what changed in between was not heard"
    await until(lambda: bool(p1.bells), "followed again")


async def test_a_proxy_that_is_not_there_rings_nothing(room: ControlRoom, p1):
    await room.observer.observe()
    await took(room)
    p1.unreachable = True
    async with room.running(room.watchers.run):
        await asyncio.sleep(0.1)
        while not await rests(room):
            pass
        assert await rests(room)
