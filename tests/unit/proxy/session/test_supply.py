"""When the pull is open, in virtual time."""

import asyncio

import pytest

from proxy.contract import UpstreamState
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
