"""One session, by what its viewers and its upstream see, in virtual time."""

import asyncio

import pytest

from proxy.contract import FinishedReason, Output, UpstreamState
from proxy.errors import SessionOverError, StartFailedError, ViewerLimitError
from proxy.session import Session, SessionLimits
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.sessions import World, build, in_world, running, spec, viewer

pytestmark = pytest.mark.looptime


def start(world: World, *urls: str, **fields: object) -> Session:
    world.ensure(spec("cam", *urls, **fields))
    session = world.registry.get("cam")
    assert session is not None
    return session


@in_world
async def test_an_on_demand_session_opens_nothing_until_somebody_watches(world: World):
    session = start(world, "flow:a")
    await asyncio.sleep(60)
    assert world.upstreams.opened.total() == 0
    assert session.view().state is UpstreamState.IDLE
    assert session.view().failing_seconds is None


@in_world
async def test_a_viewer_opens_the_upstream_and_gets_a_picture(world: World):
    session = start(world, "flow:a")
    session.enter(viewer())
    await session.started()
    assert session.feed is not None
    assert session.feed.joinable
    view = session.view()
    assert (view.state, view.wanted, view.viewers_ts, view.connects) == (UpstreamState.FLOWING, True, 1, 1)


@in_world
async def test_the_upstream_lingers_after_the_last_viewer_and_is_then_closed(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    session.leave(guest)
    await asyncio.sleep(9.5)
    assert world.upstreams.open_now == 1
    await asyncio.sleep(1)
    assert world.upstreams.open_now == 0
    assert session.view().state is UpstreamState.IDLE
    assert session.feed is None


@in_world
async def test_whoever_comes_back_within_the_linger_keeps_the_upstream_for_good(world: World):
    session = start(world, "flow:a")
    first, second = viewer("v1"), viewer("v2")
    session.enter(first)
    await session.started()
    feed = session.feed
    session.leave(first)
    await asyncio.sleep(9)
    session.enter(second)
    await asyncio.sleep(120)
    assert world.upstreams.opened.total() == 1
    assert session.feed is feed
    assert session.view().state is UpstreamState.FLOWING


@in_world
async def test_after_minutes_of_watching_the_upstream_is_closed_like_any_other(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    await asyncio.sleep(310)  # longer than anything that was ever made to expire
    assert world.upstreams.open_now == 1
    assert session.view().state is UpstreamState.FLOWING
    session.leave(guest)
    await asyncio.sleep(11)
    assert (world.upstreams.open_now, session.view().state) == (0, UpstreamState.IDLE)


@in_world
async def test_leaving_twice_counts_once(world: World):
    session = start(world, "flow:a")
    first, second = viewer("v1"), viewer("v2")
    session.enter(first)
    session.enter(second)
    session.leave(first)
    session.leave(first)
    assert world.gauge.count == 1
    assert session.view().viewers_ts == 1


@in_world
async def test_an_upstream_that_is_not_on_demand_is_kept_open(world: World):
    session = start(world, "flow:a", on_demand=False)
    await asyncio.sleep(30)
    assert world.upstreams.open_now == 1
    assert session.view().bitrate_bps > 100_000


@in_world
async def test_a_stop_ends_viewers_at_once_and_closes_the_upstream(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    world.stop()
    assert guest.over.is_set()
    with pytest.raises(SessionOverError):
        session.enter(viewer("late"))
    await asyncio.sleep(0.01)
    assert world.upstreams.open_now == 0


@in_world
async def test_a_stop_before_the_task_has_run_leaves_nothing(world: World):
    session = start(world, "flow:a", on_demand=False)
    world.stop()
    await asyncio.sleep(0.01)
    assert session.feed is None
    assert world.upstreams.opened.total() == 0


@pytest.mark.parametrize(
    ("url", "status", "within", "words"),
    [
        ("missing:a", 502, 1, "404"),
        ("html:a", 502, 1, "HTML"),
        ("busy:a", 502, 10, "503"),
        ("trickle:a", 502, 10, "not MPEG-TS"),
        ("silent:a", 504, 10, "no media"),
    ],
)
@in_world
async def test_a_failed_start_is_answered_in_time_and_leaves_the_session_idle(
    world: World, url: str, status: int, within: float, words: str
):
    session = start(world, url)
    guest = viewer()
    began = asyncio.get_running_loop().time()
    session.enter(guest)
    with pytest.raises(StartFailedError, match=words) as failure:
        await session.started()
    session.leave(guest)
    assert failure.value.status == status
    assert asyncio.get_running_loop().time() - began <= within + 0.01
    await asyncio.sleep(0.01)
    assert session.view().state is UpstreamState.IDLE
    assert not session.view().wanted
    assert words in session.view().detail
    assert session.finished_reason is None
    assert world.upstreams.open_now == 0


@in_world
async def test_viewers_just_after_a_failed_start_get_the_same_answer_without_an_attempt(world: World):
    session = start(world, "missing:a")
    for name in ("v1", "v2", "v3"):
        guest = viewer(name)
        session.enter(guest)
        with pytest.raises(StartFailedError):
            await session.started()
        session.leave(guest)
    assert world.upstreams.opened.total() == 1
    await asyncio.sleep(3)
    guest = viewer("v4")
    session.enter(guest)
    with pytest.raises(StartFailedError):
        await session.started()
    assert world.upstreams.opened.total() == 2


@in_world
async def test_a_start_that_is_stopped_answers_that_it_is_over(world: World):
    session = start(world, "silent:a")
    session.enter(viewer())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_outcome(session))
        await asyncio.sleep(1)
        world.stop()
    assert waiting.result() is SessionOverError


async def _outcome(session: Session) -> type[Exception] | None:
    try:
        await session.started()
    except (SessionOverError, StartFailedError) as error:
        return type(error)
    return None


@in_world
async def test_the_second_upstream_is_tried_when_the_first_fails(world: World):
    session = start(world, "missing:a", "flow:b")
    session.enter(viewer())
    await session.started()
    assert session.view().upstream_index == 1


@in_world
async def test_a_silent_first_upstream_leaves_time_for_the_second(world: World):
    session = start(world, "silent:a", "flow:b")
    session.enter(viewer())
    await session.started()
    assert world.upstreams.open_names == ["flow:b"]


@in_world
async def test_an_upstream_that_drops_again_and_again_keeps_its_viewers(world: World):
    session = start(world, "drop:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    feed = session.feed
    await asyncio.sleep(45)
    assert not guest.over.is_set()
    assert session.feed is feed
    assert world.upstreams.opened.total() >= 4
    assert world.upstreams.open_most == 1


@in_world
async def test_an_upstream_that_ends_is_connected_to_again(world: World):
    start(world, "brief:a", on_demand=False)
    await asyncio.sleep(20)
    assert world.upstreams.opened.total() >= 3


@in_world
async def test_viewers_get_null_packets_while_the_upstream_is_silent(world: World):
    session = start(world, "stall:a")
    session.enter(viewer())
    await session.started()
    await asyncio.sleep(1.5)
    assert session.feed is not None
    before = session.feed.head
    await asyncio.sleep(3)
    assert session.feed.head > before
    assert session.feed.head % 188 == 0
    await asyncio.sleep(3)
    view = session.view()
    assert view.state is UpstreamState.STALLED
    assert view.failing_seconds is not None
    assert view.failing_seconds > 5


@in_world
async def test_an_on_demand_session_that_fails_for_long_sends_its_viewers_away(world: World):
    session = start(world, "stall:a", "missing:b")
    world.upstreams.opened.clear()
    guest = viewer()
    session.enter(guest)
    await session.started()
    # The first upstream delivers one second after each reconnect, so only true silence counts.
    session.replace(2, spec("cam", "silent:c"))
    await asyncio.sleep(58)
    assert not guest.over.is_set()
    await asyncio.sleep(5)
    assert guest.over.is_set()
    assert session.view().state is UpstreamState.IDLE


@in_world
async def test_a_clean_end_finishes_a_session_that_is_to_end_with_its_upstream(world: World):
    session = start(world, "brief:a", on_eof="end", on_demand=False)
    guest = viewer()
    session.enter(guest)
    await session.started()
    await asyncio.sleep(1.5)
    view = session.view()
    assert (view.state, view.finished_reason) == (UpstreamState.FINISHED, FinishedReason.UPSTREAM_ENDED)
    assert session.over
    assert not guest.over.is_set()  # it has not read everything yet
    assert session.feed is not None
    guest.position = session.feed.head
    await asyncio.sleep(0.2)
    assert guest.over.is_set()
    session.leave(guest)
    await asyncio.sleep(0.2)
    assert session.feed is None
    assert world.registry.get("cam") is session


@in_world
async def test_a_session_that_never_starts_and_is_to_end_finishes_as_start_failed(world: World):
    session = start(world, "missing:a", on_eof="end", on_demand=False)
    await asyncio.sleep(60)
    assert session.finished_reason is FinishedReason.START_FAILED
    assert "404" in session.view().detail


@in_world
async def test_a_session_that_is_kept_open_retries_for_ever_and_says_for_how_long(world: World):
    session = start(world, "missing:a", on_demand=False)
    await asyncio.sleep(300)
    view = session.view()
    assert view.state is UpstreamState.WAITING
    assert view.failing_seconds == pytest.approx(300, abs=1)
    assert 15 <= world.upstreams.opened.total() <= 60
    guest = viewer()
    session.enter(guest)
    with pytest.raises(StartFailedError, match="404"):
        await session.started()


@in_world
async def test_a_fault_of_the_proxy_finishes_one_session_and_no_other(world: World):
    broken = start(world, "broken:a", on_demand=False)
    world.ensure(spec("other", "flow:b", on_demand=False), stream="s2")
    await asyncio.sleep(5)
    assert broken.finished_reason is FinishedReason.FAILED
    assert "a bug" in broken.view().detail
    other = world.registry.get("other")
    assert other is not None
    assert other.view().state is UpstreamState.FLOWING


@in_world
async def test_a_new_generation_with_the_same_upstreams_keeps_pull_feed_and_viewers(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    feed = session.feed
    world.ensure(spec("cam", "flow:a", on_eof="end"), 1, 2)
    await asyncio.sleep(5)
    assert world.registry.get("cam") is session
    assert (session.feed, session.generation, session.spec.on_eof) == (feed, 2, "end")
    assert world.upstreams.opened.total() == 1
    assert not guest.over.is_set()


@in_world
async def test_a_new_generation_with_other_upstreams_switches_the_pull_and_keeps_the_viewers(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    await session.started()
    feed = session.feed
    world.ensure(spec("cam", "flow:b"), 1, 2)
    late = viewer("v2")
    session.enter(late)  # must not take back the decision to switch
    await asyncio.sleep(5)
    assert world.upstreams.open_names == ["flow:b"]
    assert world.upstreams.open_most == 1
    assert session.feed is feed
    assert not guest.over.is_set()


@in_world
async def test_a_new_generation_that_is_on_demand_lets_an_unwatched_upstream_go(world: World):
    start(world, "flow:a", on_demand=False)
    await asyncio.sleep(5)
    world.ensure(spec("cam", "flow:a"), 1, 2)
    await asyncio.sleep(11)
    assert world.upstreams.open_now == 0
    world.ensure(spec("cam", "flow:a", on_demand=False), 1, 3)
    await asyncio.sleep(1)
    assert world.upstreams.open_now == 1


@in_world
async def test_rates_and_moves_of_viewers_are_kept(world: World):
    session = start(world, "flow:a")
    stays, goes = viewer("v1"), viewer("v2")
    session.enter(stays)
    session.enter(goes)
    await session.started()
    for _ in range(40):
        stays.bytes_sent += 1000
        await asyncio.sleep(0.5)
    rates = {shown.viewer_id: shown.rate_bps for shown in session.viewer_views()}
    assert 12_000 < rates["v1"] < 20_000
    assert rates["v2"] == 0
    goes.moves, stays.moves = 2, 1
    session.leave(goes)
    assert session.moves == world.registry.totals().moves == 3


@in_world
async def test_an_output_that_is_taken_away_ends_its_viewers_only(world: World):
    session = start(world, "flow:a")
    ts, hls = viewer("v1"), viewer("v2", Output.HLS)
    session.enter(ts)
    session.enter(hls)
    await session.started()
    world.ensure(spec("cam", "flow:a", outputs=("ts",)), 1, 2)
    assert hls.over.is_set()
    assert not ts.over.is_set()


async def test_a_full_proxy_takes_no_viewer():
    async with running(build(viewers_max=1)) as world:
        session = start(world, "flow:a")
        session.enter(viewer("v1"))
        with pytest.raises(ViewerLimitError):
            session.enter(viewer("v2"))


async def test_no_linger_closes_at_once():
    async with running(build(limits=SessionLimits(linger_seconds=0))) as world:
        session = start(world, "flow:a")
        guest = viewer()
        session.enter(guest)
        await session.started()
        session.leave(guest)
        await asyncio.sleep(0.01)
        assert world.upstreams.open_now == 0
        session.enter(viewer("v2"))
        await session.started()
        assert world.upstreams.opened.total() == 2


@in_world
async def test_a_hundred_starts_and_stops_leave_nothing(world: World):
    before = MemorySegment.open_count
    tasks = len(asyncio.all_tasks())
    for generation in range(1, 101):
        assert world.ensure(spec("cam", "flow:a"), 1, generation).outcome == "started"
        session = world.registry.get("cam")
        assert session is not None
        session.enter(guest := viewer())
        await session.started()
        assert world.stop("cam", 1, generation).outcome == "stopped"
        session.leave(guest)
    await asyncio.sleep(0.01)
    assert MemorySegment.open_count == before
    assert len(asyncio.all_tasks()) == tasks
    assert world.gauge.count == 0


@in_world
async def test_an_upstream_that_recovers_serves_viewers_again(world: World):
    session = start(world, "late:a", on_demand=False)
    session.enter(viewer("v1"))
    with pytest.raises(StartFailedError):
        await session.started()
    await asyncio.sleep(5)
    session.enter(viewer("v2"))
    await session.started()
    assert session.view().failing_seconds is None


@in_world
async def test_a_viewer_who_leaves_at_once_opens_nothing(world: World):
    session = start(world, "flow:a")
    guest = viewer()
    session.enter(guest)
    session.leave(guest)
    await asyncio.sleep(1)
    assert world.upstreams.opened.total() == 0
    assert session.view().state is UpstreamState.IDLE
    assert session.feed is None


@in_world
async def test_viewers_of_a_flow_that_broke_long_ago_wait_for_fresh_media(world: World):
    session = start(world, "stall:a", on_demand=False)
    await asyncio.sleep(5)
    world.ensure(spec("cam", "busy:b", on_demand=False), 1, 2)
    await asyncio.sleep(30)
    session.enter(viewer())
    with pytest.raises(StartFailedError, match="503") as failure:
        await session.started()
    assert failure.value.status == 502
