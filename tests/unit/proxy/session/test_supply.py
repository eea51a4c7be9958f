"""When the pull is open, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.contract import UpstreamState
from proxy.errors import NotPublishedError, SessionOverError, StartFailedError
from proxy.session import Session
from proxy.upstream import demo
from proxy.upstream.publish import Publisher
from tests.fakes.sessions import World, in_world, limited, spec, viewer

pytestmark = pytest.mark.looptime


@in_world
async def test_a_deadline_that_is_taken_back_closes_nothing_later(world: World):
    world.ensure(spec("cam", "flow:a"))
    session = world.registry.get("cam")
    assert session is not None
    for number in range(3):
        session.enter(guest := viewer(f"v{number}"))
        await session.started()
        session.leave(guest)
        await asyncio.sleep(9.9)
    session.enter(viewer("last"))
    await asyncio.sleep(60)
    assert world.upstreams.opened.total() == 1


@in_world
async def test_one_who_comes_back_in_the_moment_of_the_recall_keeps_the_connection(world: World):
    world.ensure(limited("first", "flow://one:80/a"))
    world.ensure(limited("second", "flow://one:80/b"), stream="s2")
    first, second = world.registry.get("first"), world.registry.get("second")
    assert first is not None
    assert second is not None
    first.enter(guest := viewer("v1"))
    await first.started()
    second.enter(viewer("v2"))
    await asyncio.sleep(0.1)
    first.leave(guest)  # called back
    first.enter(viewer("v3"))  # before the pull could close
    await asyncio.sleep(5)
    assert world.upstreams.open_names == ["flow://one:80/a"]
    assert second.view().state is UpstreamState.WAITING


@in_world
async def test_what_is_known_of_upstreams_is_forgotten_with_them_only(world: World):
    world.ensure(spec("cam", "missing:a", "flow:b", on_demand=False))
    await asyncio.sleep(1)
    world.ensure(spec("cam", "missing:a", "flow:b"), 1, 2)
    await asyncio.sleep(1)
    assert world.upstreams.opened["missing:a"] == 1
    world.ensure(spec("cam", "missing:a", "flow:c", on_demand=False), 1, 3)
    await asyncio.sleep(1)
    assert world.upstreams.opened["missing:a"] == 2
    assert world.upstreams.open_names == ["flow:c"]


async def media() -> AsyncIterator[bytes]:
    """Media as an encoder sends it, without an end."""
    clip, number = demo.load(), 0
    while True:
        content, start = clip.round(number), 0
        for piece in clip.slices:
            yield content[start : piece.end]
            start = piece.end
            await asyncio.sleep(demo.SLICE_SECONDS)
        number += 1


@asynccontextmanager
async def publishing(session: Session) -> AsyncIterator[Publisher]:
    """Publish for a while, as a request does."""
    publisher = Publisher()
    session.attend(publisher)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(publisher.push(media()))
        try:
            yield publisher
        finally:
            pushing.cancel()
            session.depart(publisher)


def started(world: World, *urls: str, **fields: object) -> Session:
    world.ensure(spec("cam", *urls, **fields))
    session = world.registry.get("cam")
    assert session is not None
    return session


@in_world
async def test_what_is_pushed_is_kept_without_viewers_and_lingers_when_the_publisher_is_gone(world: World):
    session = started(world, "publish:")
    assert session.state is UpstreamState.IDLE
    async with publishing(session):
        await asyncio.sleep(60)
        assert session.state is UpstreamState.FLOWING
        session.enter(guest := viewer())
        await session.started()
        session.leave(guest)
        await asyncio.sleep(60)
        assert session.state is UpstreamState.FLOWING
    await asyncio.sleep(9)
    assert session.wanted
    await asyncio.sleep(2)
    assert session.state is UpstreamState.IDLE


@in_world
async def test_a_publisher_that_comes_back_is_read_at_once(world: World):
    session = started(world, "publish:", on_demand=False)
    await asyncio.sleep(300)  # the back-off is at its longest
    assert session.state in (UpstreamState.WAITING, UpstreamState.CONNECTING)
    assert session.view().detail == "nobody publishes this stream"
    for _ in range(3):
        async with publishing(session):
            await asyncio.sleep(0.5)
            assert session.state is UpstreamState.FLOWING
        await asyncio.sleep(20)


@in_world
async def test_a_viewer_of_what_nobody_pushes_is_told_so(world: World):
    session = started(world, "publish:")
    session.enter(viewer())
    with pytest.raises(StartFailedError, match="nobody publishes this stream") as failure:
        await session.started()
    assert failure.value.status == 504
    async with publishing(session):
        await session.started()


@in_world
async def test_a_publisher_may_come_as_late_as_it_likes(world: World):
    session = started(world, "publish:", on_demand=False, on_eof="end")
    await asyncio.sleep(600)
    assert session.finished_reason is None


@in_world
async def test_a_backup_plays_until_somebody_publishes_and_again_after(world: World):
    session = started(world, "publish:", "flow:slate", on_demand=False)
    await asyncio.sleep(30)
    assert (session.state, session.view().upstream_index) == (UpstreamState.FLOWING, 1)
    feed = session.feed
    async with publishing(session):
        await asyncio.sleep(10)
        assert (session.state, session.view().upstream_index) == (UpstreamState.FLOWING, 0)
        assert world.upstreams.open_now == 0
    await asyncio.sleep(10)
    assert (session.state, session.view().upstream_index) == (UpstreamState.FLOWING, 1)
    assert session.feed is feed


@in_world
async def test_a_publisher_in_reserve_waits_for_its_turn(world: World):
    session = started(world, "stall:a", "publish:", on_demand=False)
    await asyncio.sleep(0.5)
    async with publishing(session) as publisher:
        assert session.view().upstream_index == 0
        await asyncio.sleep(30)
        assert (session.state, session.view().upstream_index) == (UpstreamState.FLOWING, 1)
        assert publisher.is_open


@in_world
async def test_nobody_publishes_to_what_is_over_or_pulled(world: World):
    session = started(world, "flow:a")
    with pytest.raises(NotPublishedError):
        session.attend(Publisher())
    world.stop()
    with pytest.raises(SessionOverError):
        session.attend(Publisher())


@in_world
async def test_a_stop_sends_the_publisher_away(world: World):
    session = started(world, "publish:")
    async with publishing(session) as publisher:
        await asyncio.sleep(1)
        world.stop()
        assert not publisher.is_open
