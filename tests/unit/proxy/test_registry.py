"""The registry's fences: a model of what they mean, run against any sequence of commands, and named cases."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.contract import EnsureOutcome, EnsureRequest, SessionSpec, StopOutcome, StopRequest, SyncedRequest
from proxy.core.rota import Backoff
from proxy.errors import SpecRefusedError
from proxy.registry import TOMBSTONE_SECONDS, Identity, Registry
from proxy.session import SessionLimits, SessionPorts, Viewer, ViewerGauge
from proxy.upstream.ports import PullLimits, PullPorts
from proxy.upstream.slots import Slots
from tests.fakes.readers import FakeUpstreams
from tests.fakes.sessions import BOOT, World, build, in_world, new_feed, running, spec, viewer

Fence = tuple[int, int]


@dataclass
class Held:
    """What the model says of one key's session."""

    fence: Fence
    stream: str
    spec: SessionSpec
    guest: Viewer


keys = st.sampled_from(["a", "b"])
numbers = st.integers(0, 2)
streams = st.sampled_from(["s1", "s2"])
urls = st.sampled_from(["silent:1", "silent:2"])
token_steps = st.sampled_from([0] * 8 + [1, -1])
senders = st.tuples(token_steps, st.sampled_from([BOOT] * 9 + ["boot-0"]))
fences = st.tuples(numbers, numbers)


class Fences(RuleBasedStateMachine):
    """The model is written as the contract reads, not as the registry is built."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()  # not a Runner, which would unset the test framework's own
        self.clock = -1e9  # a time that has passed on the loop, whatever is added to it
        self.model: dict[str, Held] = {}
        self.graves: dict[str, tuple[Fence, float]] = {}
        self.token = 0
        self.guests = 0
        self.sequence = 0
        self.loop.run_until_complete(self.begin())

    async def begin(self) -> None:
        self.upstreams = FakeUpstreams()
        ports = SessionPorts(
            new_feed=new_feed,
            pulling=PullPorts(open_upstream=self.upstreams.open, slots=Slots(), limits=PullLimits()),
            backoff=Backoff(),
            gauge=ViewerGauge(1000),
            limits=SessionLimits(),
            now=lambda: self.clock,
        )
        self.registry = Registry(Identity("p", "http://p", BOOT), ports, sessions_max=10, admit=lambda _spec: None)
        self.running = asyncio.get_running_loop().create_task(self.registry.run())
        await asyncio.sleep(0)

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def grave(self, key: str) -> Fence | None:
        fence, at = self.graves.get(key, ((-1, -1), self.clock - TOMBSTONE_SECONDS))
        return fence if self.clock - at < TOMBSTONE_SECONDS else None

    def guard(self, boot: str, token: int) -> str | None:
        if boot != BOOT:
            return "wrong_boot"
        if token < self.token:
            return "stale_token"
        self.token = token
        return None

    @rule(wished=st.builds(spec, keys, urls), fence=fences, stream=streams, sender=senders)
    def ensure(self, wished: SessionSpec, fence: Fence, stream: str, sender: tuple[int, str]) -> None:
        key, token, boot = wished.key, max(0, self.token + sender[0]), sender[1]
        request = EnsureRequest(epoch=fence[0], generation=fence[1], boot_id=boot, token=token, spec=wished)

        async def call() -> EnsureOutcome:
            return self.registry.ensure(stream, request).outcome

        outcome = self.loop.run_until_complete(call())
        assert outcome == (self.guard(boot, token) or self.expected_ensure(fence, stream, wished))
        session = self.registry.get(key)
        if outcome in (EnsureOutcome.STARTED, EnsureOutcome.REPLACED):
            assert session is not None
            old = self.model.get(key)
            stays = outcome is EnsureOutcome.REPLACED
            if old is not None:
                assert old.guest.over.is_set() is not stays
            self.guests += 1
            guest = old.guest if stays and old is not None else viewer(f"v{self.guests}")
            if not stays:
                self.loop.run_until_complete(self.enter(key, guest))
            self.model[key] = Held(fence, stream, wished, guest)
        self.settle()

    async def enter(self, key: str, guest: Viewer) -> None:
        session = self.registry.get(key)
        assert session is not None
        session.enter(guest)

    def expected_ensure(self, fence: Fence, stream: str, wished: SessionSpec) -> EnsureOutcome:
        grave, held = self.grave(wished.key), self.model.get(wished.key)
        if (grave is not None and fence <= grave) or (held is not None and fence < held.fence):
            return EnsureOutcome.NEWER_EXISTS
        if held is None:
            return EnsureOutcome.STARTED
        if fence == held.fence:
            same = (stream, wished) == (held.stream, held.spec)
            return EnsureOutcome.UNCHANGED if same else EnsureOutcome.SPEC_CONFLICT
        same_run = fence[0] == held.fence[0] and stream == held.stream
        return EnsureOutcome.REPLACED if same_run else EnsureOutcome.STARTED

    @rule(key=keys, fence=fences, stream=streams, sender=senders)
    def stop(self, key: str, fence: Fence, stream: str, sender: tuple[int, str]) -> None:
        token, boot = max(0, self.token + sender[0]), sender[1]
        request = StopRequest(key=key, epoch=fence[0], generation=fence[1], boot_id=boot, token=token)

        async def call() -> StopOutcome:
            return self.registry.stop(stream, request).outcome

        outcome = self.loop.run_until_complete(call())
        guard = self.guard(boot, token)
        held = self.model.get(key)
        if guard is not None:
            assert outcome == StopOutcome(guard)
        elif held is None:
            assert outcome is StopOutcome.NOT_FOUND
            self.bury(key, fence)
        elif held.fence > fence:
            assert outcome is StopOutcome.NEWER_EXISTS
        elif held.fence == fence and held.stream != stream:
            assert outcome is StopOutcome.NOT_FOUND
        else:
            assert outcome is StopOutcome.STOPPED
            assert held.guest.over.is_set()
            del self.model[key]
            self.bury(key, fence)
        self.settle()

    def bury(self, key: str, fence: Fence) -> None:
        self.graves[key] = (max(fence, self.grave(key) or fence), self.clock)

    @rule(seconds=st.sampled_from([1.0, TOMBSTONE_SECONDS - 1, TOMBSTONE_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.clock += seconds

    @invariant()
    def the_list_is_the_model(self) -> None:
        async def call() -> dict[str, Held]:
            listing = self.registry.listing()
            assert listing.sequence >= self.sequence
            self.sequence = listing.sequence
            assert listing.token_highest == self.token
            return {view.key: (view.stream_id, (view.epoch, view.generation)) for view in listing.sessions}

        expected = {key: (held.stream, held.fence) for key, held in self.model.items()}
        assert self.loop.run_until_complete(call()) == expected

    @invariant()
    def only_what_runs_pulls(self) -> None:
        pulled = sorted(held.spec.upstreams[0].url for held in self.model.values() if not held.guest.over.is_set())
        assert sorted(self.upstreams.open_names) == pulled

    def teardown(self) -> None:
        async def end() -> None:
            self.registry.close()
            await self.running

        self.loop.run_until_complete(end())
        self.loop.close()
        assert self.upstreams.open_now == 0


TestFences = Fences.TestCase
TestFences.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

named = pytest.mark.looptime


def asking(key: str, epoch: int, **fields: str) -> EnsureRequest:
    return EnsureRequest(epoch=epoch, generation=1, boot_id=BOOT, token=0, spec=spec(key), **fields)


@named
@in_world
async def test_a_stop_for_something_unknown_refuses_the_late_start(world: World):
    assert world.stop("cam", 3, 1).outcome is StopOutcome.NOT_FOUND
    reply = world.ensure(spec("cam"), 3, 1)
    assert reply.outcome is EnsureOutcome.NEWER_EXISTS
    assert (reply.held_epoch, reply.held_generation) == (3, 1)
    assert world.ensure(spec("cam"), 4, 1).outcome is EnsureOutcome.STARTED


@named
@in_world
async def test_stop_and_start_of_one_key_at_once_touches_only_the_old_session(world: World):
    world.ensure(spec("cam", "flow:a", on_demand=False), 1, 1)
    await asyncio.sleep(1)
    old = world.registry.get("cam")
    world.stop("cam", 1, 1)
    world.ensure(spec("cam", "flow:b", on_demand=False), 2, 2, stream="s2")
    await asyncio.sleep(30)
    new = world.registry.get("cam")
    assert new is not None
    assert new is not old
    assert world.upstreams.open_names == ["flow:b"]
    assert new.view().state == "flowing"


@named
@in_world
async def test_a_higher_epoch_ends_the_old_viewers_and_starts_afresh(world: World):
    world.ensure(spec("cam", "flow:a"), 1, 1)
    old = world.registry.get("cam")
    assert old is not None
    old.enter(guest := viewer())
    await old.started()
    sequence = world.registry.sequence
    reply = world.ensure(spec("cam", "flow:a"), 2, 2, stream="s2")
    assert reply.outcome is EnsureOutcome.STARTED
    assert reply.sequence > sequence
    assert guest.over.is_set()
    await asyncio.sleep(0.01)
    assert world.upstreams.open_now == 0


@named
@in_world
async def test_a_session_of_another_installation_is_left_alone_and_the_reply_says_whose_it_is(world: World):
    theirs, ours = {"installation": "theirs"}, {"installation": "ours"}
    world.registry.ensure("s1", asking("cam", 1, **theirs))
    session = world.registry.get("cam")
    assert session is not None
    session.enter(guest := viewer())
    refused = world.registry.ensure("s2", asking("cam", 9, **ours))
    assert (refused.outcome, refused.detail) == (EnsureOutcome.REFUSED, "installation theirs runs this key here")
    stop = StopRequest(key="cam", epoch=9, generation=9, boot_id=BOOT, token=0, **ours)
    left = world.registry.stop("s2", stop)
    assert (left.outcome, left.detail) == (StopOutcome.NOT_FOUND, "installation theirs runs this key here")
    assert world.registry.get("cam") is session
    assert not guest.over.is_set()


@named
@in_world
async def test_a_finished_session_is_listed_until_it_is_stopped(world: World):
    world.ensure(spec("cam", "brief:a", on_eof="end", on_demand=False))
    await asyncio.sleep(60)
    assert [view.state for view in world.registry.listing().sessions] == ["finished"]
    assert world.ensure(spec("cam", "brief:a", on_eof="end", on_demand=False)).outcome is EnsureOutcome.UNCHANGED
    assert world.stop().outcome is StopOutcome.STOPPED
    assert world.registry.listing().sessions == ()


@named
@in_world
async def test_a_finished_session_is_begun_again_by_a_higher_generation(world: World):
    world.ensure(spec("cam", "brief:a", on_eof="end", on_demand=False))
    await asyncio.sleep(60)
    assert world.ensure(spec("cam", "flow:a", on_demand=False), 1, 2).outcome is EnsureOutcome.REPLACED
    await asyncio.sleep(1)
    assert world.upstreams.open_names == ["flow:a"]


@named
@in_world
async def test_a_tombstone_is_recent_for_ten_minutes_if_something_ran(world: World):
    world.ensure(spec("cam"))
    world.stop()
    world.stop("never", 1, 1)
    assert world.registry.tombstone("cam") == "recent"
    assert world.registry.tombstone("never") is None
    await asyncio.sleep(TOMBSTONE_SECONDS + 1)
    assert world.registry.tombstone("cam") is None


@named
@in_world
async def test_changes_are_announced_with_their_key(world: World):
    heard: list[str] = []
    unlisten = world.registry.listen(heard.append)
    world.ensure(spec("cam", "flow:a", on_demand=False), stream="s7")
    await asyncio.sleep(1)
    assert set(heard) == {"cam"}
    assert len(heard) >= 3  # started, connecting, flowing
    unlisten()
    count = len(heard)
    world.stop("cam", 1, 1, stream="s7")
    assert len(heard) == count


@named
async def test_limits_and_refusals_change_nothing():
    def admit(wished: SessionSpec) -> None:
        if wished.key == "bad":
            raise SpecRefusedError("not this one")

    async with running(build(sessions_max=1, admit=admit)) as world:
        assert world.ensure(spec("bad")).outcome is EnsureOutcome.REFUSED
        assert world.registry.sequence == 0
        assert world.ensure(spec("a")).outcome is EnsureOutcome.STARTED
        reply = world.ensure(spec("b"))
        assert reply.outcome is EnsureOutcome.REFUSED
        assert "1 sessions" in reply.detail
        assert world.ensure(spec("a"), 1, 2).outcome is EnsureOutcome.REPLACED
        world.registry.draining = True
        assert world.ensure(spec("a"), 1, 3).outcome is EnsureOutcome.REFUSED


@named
@in_world
async def test_synced_is_said_once_by_a_controller_of_this_boot(world: World):
    assert world.registry.mark_synced(SyncedRequest(boot_id="other", token=1))[0] == "wrong_boot"
    assert not world.registry.listing().synced
    world.ensure(spec("cam"), token=5)
    assert world.registry.mark_synced(SyncedRequest(boot_id=BOOT, token=4))[0] == "stale_token"
    fault, reply = world.registry.mark_synced(SyncedRequest(boot_id=BOOT, token=5))
    assert (fault, reply.token_highest) == (None, 5)
    assert world.registry.listing().synced


@named
@in_world
async def test_totals_keep_what_stopped_sessions_did(world: World):
    world.ensure(spec("cam", "flow:a", on_demand=False))
    await asyncio.sleep(5)
    before = world.registry.totals()
    world.stop()
    assert world.registry.totals() == before
    assert before.bytes_in > 0


@named
@in_world
async def test_one_viewer_is_sent_away_by_its_id(world: World):
    world.ensure(spec("cam", "flow:a"))
    session = world.registry.get("cam")
    assert session is not None
    first, second = viewer("v1"), viewer("v2")
    session.enter(first)
    session.enter(second)
    assert {view.viewer_id for view in world.registry.viewers().items} == {"v1", "v2"}
    assert world.registry.kick("v1")
    assert not world.registry.kick("v9")
    assert first.over.is_set()
    assert not second.over.is_set()
