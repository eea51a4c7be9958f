"""What the pull does with a list of upstreams, seen through sessions in virtual time."""

import asyncio
from collections.abc import Callable

import pytest

from proxy.contract import UpstreamState
from proxy.core.psi import PID_NULL
from proxy.session import Session
from tests.fakes.sessions import World, in_world, limited, spec, viewer

pytestmark = pytest.mark.looptime


def watched(world: World, *urls: str, script: dict[str, list[str]] | None = None, **fields: object) -> Session:
    world.upstreams.scripts |= script or {}
    world.ensure(spec("cam", *urls, **fields))
    return watch(world, "cam")


def watch(world: World, key: str) -> Session:
    session = world.registry.get(key)
    assert session is not None
    session.enter(viewer(f"{key}-{len(session.viewers)}"))
    return session


async def until(condition: Callable[[], bool], seconds: float = 10) -> float:
    """Return how long it took."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.05)
    return asyncio.get_running_loop().time() - began


def plays(world: World, url: str) -> Callable[[], bool]:
    return lambda: world.upstreams.open_names == [url]


@pytest.mark.parametrize(
    ("ending", "within"),
    [
        ("brief", 1.3),  # plays for a second, then ends
        ("drop", 1.3),
        ("stall", 6.5),  # plays for a second, then is silent: 5 s make a stall
    ],
)
@in_world
async def test_the_next_upstream_takes_over_when_one_ends_or_stalls(world: World, ending: str, within: float):
    session = watched(world, f"{ending}:a", "flow:b")
    await session.started()
    assert await until(plays(world, "flow:b")) <= within
    assert session.view().upstream_index == 1
    assert world.upstreams.open_most == 1


@in_world
async def test_without_another_upstream_a_stall_is_given_more_time(world: World):
    watched(world, "stall:a")
    await asyncio.sleep(15)
    assert world.upstreams.opened.total() == 1
    await asyncio.sleep(3)
    assert world.upstreams.opened.total() == 2


@in_world
async def test_the_preferred_upstream_is_gone_back_to_without_a_gap(world: World):
    session = watched(world, "script:a", "flow:b", script={"script:a": ["drop", "flow"]}, return_after_seconds=30)
    await session.started()
    await until(plays(world, "flow:b"))
    feed, newest_at = session.feed, []
    assert feed is not None

    async def look() -> None:
        while True:
            newest_at.append(asyncio.get_running_loop().time() - feed.newest_at)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(45), asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        assert 29 < await until(plays(world, "script:a"), 45) < 40
        looking.cancel()
    assert max(newest_at) < 0.25  # one delivered until the other had a picture
    assert world.upstreams.open_most == 2
    assert session.view().upstream_index == 0
    await asyncio.sleep(150)
    assert world.upstreams.opened["script:a"] == 2


@pytest.mark.parametrize("attempt", ["missing", "silent", "poor", "html"])
@in_world
async def test_a_way_back_that_leads_nowhere_disturbs_nobody(world: World, attempt: str):
    session = watched(world, "script:a", "flow:b", script={"script:a": ["drop", attempt]}, return_after_seconds=30)
    await session.started()
    await asyncio.sleep(200)
    assert 2 <= world.upstreams.opened["script:a"] <= 5
    assert world.upstreams.opened["flow:b"] == 1
    assert session.view().state is UpstreamState.FLOWING
    assert session.view().upstream_index == 1


@in_world
async def test_whoever_stays_does_not_go_back(world: World):
    session = watched(world, "script:a", "flow:b", script={"script:a": ["drop", "flow"]}, prefer="stay")
    await session.started()
    await asyncio.sleep(150)
    assert world.upstreams.opened == {"script:a": 1, "flow:b": 1}


@in_world
async def test_a_new_preference_counts_at_once(world: World):
    session = watched(world, "script:a", "flow:b", script={"script:a": ["drop", "flow"]}, prefer="stay")
    await session.started()
    await asyncio.sleep(100)
    session.replace(2, spec("cam", "script:a", "flow:b", prefer="first", return_after_seconds=10))
    # The way back was not waited for while nobody wanted it; the next end of a line, or look, finds it.
    assert world.upstreams.opened["flow:b"] == 1
    await until(plays(world, "script:a"), 90)


@in_world
async def test_when_the_backup_ends_on_the_way_back_the_preferred_one_is_waited_for(world: World):
    session = watched(
        world, "script:a", "script:b", return_after_seconds=30,
        script={"script:a": ["drop", "slow", "flow"], "script:b": ["half-minute", "missing"]},
    )  # fmt: skip
    await session.started()
    await until(lambda: world.upstreams.opened["script:a"] == 2, 45)
    await until(plays(world, "script:a"), 10)
    await until(lambda: session.view().state is UpstreamState.FLOWING, 10)
    assert world.upstreams.opened == {"script:a": 2, "script:b": 1}


@in_world
async def test_a_bad_upstream_is_not_hammered(world: World):
    session = watched(world, "missing:a", "brief:b", on_demand=False)
    await session.started()
    await asyncio.sleep(150)
    assert world.upstreams.opened["missing:a"] <= 20
    assert world.upstreams.opened["brief:b"] >= 8


@in_world
async def test_what_is_bad_is_not_tried_first_when_somebody_comes_back(world: World):
    session = watched(world, "missing:a", "flow:b")
    await session.started()
    guests = list(session.viewers.values())
    session.leave(guests[0])
    await asyncio.sleep(11)
    assert session.view().state is UpstreamState.IDLE
    before = world.upstreams.opened["missing:a"]
    for _ in range(3):
        guest = viewer()
        session.enter(guest)
        await session.started()
        session.leave(guest)
        await asyncio.sleep(11)
    assert world.upstreams.opened["missing:a"] <= before + 3


# Where the host gives one connection only

HOSTED = {"script://one:80/a": ["drop", "flow"], "script://one:80/b": ["flow"], "flow://one:80/c": ["flow"]}


@in_world
async def test_where_two_pulls_are_forbidden_the_way_back_closes_one_before_it_opens_the_other(world: World):
    world.upstreams.scripts |= HOSTED
    world.ensure(limited("cam", "script://one:80/a", "script://one:80/b", return_after_seconds=30))
    session = watch(world, "cam")
    await session.started()
    await until(plays(world, "script://one:80/b"))
    await until(plays(world, "script://one:80/a"), 45)
    assert world.upstreams.open_most == 1
    assert session.view().upstream_index == 0


@in_world
async def test_the_way_back_waits_while_others_have_the_connection(world: World):
    world.upstreams.scripts |= HOSTED
    world.ensure(limited("other", "flow://one:80/c"), stream="s2")
    world.ensure(limited("cam", "script://one:80/a", "flow://two:80/d", return_after_seconds=30))
    other = watch(world, "other")
    await other.started()
    session = watch(world, "cam")
    await session.started()
    assert sorted(world.upstreams.open_names) == ["flow://one:80/c", "flow://two:80/d"]
    await asyncio.sleep(100)
    assert world.upstreams.opened["script://one:80/a"] == 0
    world.stop("other", stream="s2")
    await until(lambda: world.upstreams.opened["script://one:80/a"] == 1, 120)


@in_world
async def test_a_lingering_pull_gives_its_connection_to_who_waits(world: World):
    world.ensure(limited("first", "flow://one:80/a"))
    world.ensure(limited("second", "flow://one:80/b"), stream="s2")
    first = watch(world, "first")
    await first.started()
    first.leave(next(iter(first.viewers.values())))
    await asyncio.sleep(1)
    assert world.upstreams.open_names == ["flow://one:80/a"]
    second = watch(world, "second")
    await asyncio.wait_for(second.started(), 0.5)
    assert world.upstreams.open_names == ["flow://one:80/b"]
    assert world.upstreams.open_most == 1
    assert first.view().state is UpstreamState.IDLE


@in_world
async def test_who_waits_says_so_and_comes_in_when_the_last_viewer_there_goes(world: World):
    world.ensure(limited("first", "flow://one:80/a"))
    world.ensure(limited("second", "flow://one:80/b"), stream="s2")
    first = watch(world, "first")
    await first.started()
    second = watch(world, "second")
    await asyncio.sleep(2)
    view = second.view()
    assert view.state is UpstreamState.WAITING
    assert view.detail == "waiting for a free connection to host one:80, limit 1"
    first.leave(next(iter(first.viewers.values())))
    await asyncio.wait_for(second.started(), 0.5)
    assert world.upstreams.open_most == 1


@in_world
async def test_a_full_host_is_passed_over_for_the_next_upstream(world: World):
    world.ensure(limited("first", "flow://one:80/a"))
    first = watch(world, "first")
    await first.started()
    world.ensure(limited("second", "flow://one:80/b", "flow://two:80/b"), stream="s2")
    second = watch(world, "second")
    await asyncio.wait_for(second.started(), 0.5)
    assert second.view().upstream_index == 1


# The same pictures again and again


@in_world
async def test_an_upstream_that_loops_is_left_for_the_next_and_the_last_of_them_is_kept(world: World):
    session = watched(world, "flow:a", "flow:b", loop="watch", return_after_seconds=10)
    await session.started()
    assert 15 < await until(plays(world, "flow:b"), 40) < 30
    assert session.view().looping_seconds is not None
    await asyncio.sleep(100)
    assert world.upstreams.opened == {"flow:a": 1, "flow:b": 1}
    view = session.view()
    assert view.looping_seconds is not None
    assert view.looping_seconds > 100
    assert view.loop_period_seconds == pytest.approx(6.4, abs=1.5)


@pytest.mark.parametrize(("url", "loop", "loops"), [("flow:a", "watch", True), ("flow:a", "allow", False),
                                                    ("demo:", "watch", False)])  # fmt: skip
@in_world
async def test_a_loop_is_reported_where_it_is_none_on_purpose(world: World, url: str, loop: str, loops: bool):
    session = watched(world, url, loop=loop)
    await session.started()
    await asyncio.sleep(40)
    assert (session.view().looping_seconds is not None) is loops
    assert world.upstreams.opened.total() == 1
    session.replace(2, spec("cam", url, loop="allow"))
    assert session.view().looping_seconds is None


@in_world
async def test_after_a_break_nothing_but_null_packets_stands_before_the_next_picture(world: World):
    session = watched(world, "script:a", script={"script:a": ["stall", "silent", "flow"]})
    await session.started()
    feed = session.feed
    assert feed is not None
    await asyncio.sleep(1.05)
    broken = feed.head
    since = feed.newest_at
    await until(lambda: feed.head > broken, 1)  # within the first second of silence
    assert asyncio.get_running_loop().time() - since <= 1.0
    await until(lambda: feed.newest_at > since, 60)
    silence = feed.ring.read(broken, feed.head - broken) or b""
    pids = [(silence[at + 1] & 0x1F) << 8 | silence[at + 2] for at in range(0, len(silence), 188)]
    nulls = next(number for number, pid in enumerate(pids) if pid != PID_NULL)
    assert nulls >= 7 * 2 * 20
    assert silence[nulls * 188 + 5] & 0x80  # the first packet of the new connection tells of the jump
