"""The planner's laws, in a small world of rows and proxies that obeys the control API's contract.

The world breaks: commands are lost, doubled and delayed, proxies restart and vanish, people change rows by hand. Then
it is left alone, and the plan has to bring it back to the wish.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from types import MappingProxyType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain import answers
from controller.domain.admission import Books, Intake
from controller.domain.breaker import Breaker
from controller.domain.budgets import Budgets, Limits, Purse
from controller.domain.controls import MODE, Control, Controls, Mode, Scope
from controller.domain.events import Order, StopRequested, StreamAnnounced, StreamEndAnnounced
from controller.domain.lifecycle import Draft
from controller.domain.model import (
    BootId,
    Cause,
    Change,
    Command,
    CommandKind,
    Key,
    Placement,
    PlacementState,
    ProxyId,
    Reason,
    Reply,
    ReplyOutcome,
    Run,
    SourceId,
    State,
    Stream,
    StreamId,
    StreamSpec,
    Upstream,
)
from controller.domain.observation import (
    Desired,
    DriftKey,
    DriftSeen,
    Freshness,
    Observed,
    ProxyView,
    Session,
    SessionState,
)
from controller.domain.plan import NEWCOMER, Plan, Policy, Standing, plan
from controller.domain.plan.held_ends import HeldEnds
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.runs import RunPlanner
from controller.domain.plan.scene import Scene
from controller.domain.plan.settled import Settled
from controller.domain.plan.vocabulary import NOTHING_AGREED
from controller.domain.plan.warden import Warden
from controller.domain.verdicts import Verdict
from tests.fakes import domain_values as make

KEYS = (Key("a"), Key("b"))
PROXIES = (ProxyId("p1"), ProxyId("p2"))
SPECS = tuple(StreamSpec((Upstream(f"http://origin/{n}.ts"),)) for n in range(2))
POLICY = Policy()
LOST_AFTER = timedelta(seconds=30)
TOMBSTONE = timedelta(seconds=600)
CYCLE = timedelta(seconds=10)

Fence = tuple[int, int]


@dataclass
class Proxy:
    """What a proxy promises to the controller, and nothing else of it."""

    id: ProxyId
    tells_held_fence: bool
    boots: Iterator[int] = field(default_factory=lambda: count(1))
    is_reachable: bool = True
    is_draining: bool = False
    boot_id: BootId = field(init=False)
    sequence: int = 0
    sessions: dict[Key, Session] = field(default_factory=dict)
    specs: dict[Key, StreamSpec | None] = field(default_factory=dict)
    tombstones: dict[Key, tuple[Fence, datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.boot_id = BootId(f"{self.id}-boot-{next(self.boots)}")
        self.sequence, self.is_draining = 0, False
        self.sessions, self.specs, self.tombstones = {}, {}, {}

    def take(self, command: Command, now: datetime) -> Reply:
        outcome = self._decide(command, now)
        held = self._held(command.key, now) if outcome is ReplyOutcome.NEWER_EXISTS and self.tells_held_fence else None
        epoch, generation = held or (None, None)
        return Reply(outcome, self.boot_id, self.sequence, 0, held_epoch=epoch, held_generation=generation)

    def _decide(self, command: Command, now: datetime) -> ReplyOutcome:
        if command.boot_id != self.boot_id:
            return ReplyOutcome.WRONG_BOOT
        fence = (command.epoch, command.generation)
        decide = self._stop if command.kind is CommandKind.STOP else self._ensure
        return decide(command, fence, now)

    def _ensure(self, command: Command, fence: Fence, now: datetime) -> ReplyOutcome:
        current = self.sessions.get(command.key)
        held = fence_of(current) if current else None
        buried = self._buried(command.key, now)
        if (buried is not None and fence <= buried) or (held is not None and fence < held):
            return ReplyOutcome.NEWER_EXISTS
        if current is not None and fence == held:
            same = current.stream_id == command.stream_id and self.specs[command.key] == command.spec
            return ReplyOutcome.UNCHANGED if same else ReplyOutcome.SPEC_CONFLICT
        if self.is_draining:
            return ReplyOutcome.REFUSED
        self.sequence += 1
        self.sessions[command.key] = make.session(
            stream_id=command.stream_id, key=command.key, epoch=command.epoch, generation=command.generation
        )
        self.specs[command.key] = command.spec
        replaced = current is not None and current.epoch == command.epoch and current.stream_id == command.stream_id
        return ReplyOutcome.REPLACED if replaced else ReplyOutcome.STARTED

    def _stop(self, command: Command, fence: Fence, now: datetime) -> ReplyOutcome:
        current = self.sessions.get(command.key)
        if current is not None and fence_of(current) > fence:
            return ReplyOutcome.NEWER_EXISTS
        if current is not None and fence_of(current) == fence and current.stream_id != command.stream_id:
            return ReplyOutcome.NOT_FOUND
        self.tombstones[command.key] = (max(fence, self._buried(command.key, now) or fence), now)
        if current is None:
            return ReplyOutcome.NOT_FOUND
        self.kill(command.key)
        return ReplyOutcome.STOPPED

    def kill(self, key: Key) -> None:
        if self.sessions.pop(key, None) is not None:
            self.sequence += 1

    def _buried(self, key: Key, now: datetime) -> Fence | None:
        fence, at = self.tombstones.get(key, ((0, 0), now - TOMBSTONE))
        return fence if now - at < TOMBSTONE else None

    def _held(self, key: Key, now: datetime) -> Fence | None:
        current = self.sessions.get(key)
        fences = [f for f in (self._buried(key, now), fence_of(current) if current else None) if f is not None]
        return max(fences, default=None)


def fence_of(session: Session) -> Fence:
    return (session.epoch, session.generation)


class World:
    """One controller, one database, two proxies."""

    def __init__(self, *, tells_held_fence: bool = True, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.standing = Standing()
        self.breaker = Breaker()
        self.approvals: frozenset[str] = frozenset()
        self.now = make.NOW
        self.proxies = {proxy_id: Proxy(proxy_id, tells_held_fence) for proxy_id in PROXIES}
        self.runs: dict[StreamId, Run] = {}
        self.outbox: list[Command] = []
        self.delayed: list[Command] = []
        self.drifts: dict[DriftKey, DriftSeen] = {}
        self.floors: dict = {}
        self.views: dict[ProxyId, ProxyView] = {}
        self.controls: list[Control] = []
        self.seen: Observed | None = None
        """A list that was taken, and not planned with yet."""
        self.ids = count(1)
        self.epochs = {key: count(1) for key in KEYS}
        self.is_honest = True
        """Whether nobody has touched rows or sessions behind the controller's back."""

    # The database

    def save(self, change: Change | None) -> None:
        if change is None:
            return
        run = change.run
        self.runs[run.stream.id] = replace(run, stream=replace(run.stream, version=run.stream.version + 1))
        self.outbox.extend(change.commands)
        active = [r for r in self.runs.values() if r.stream.key == run.stream.key and r.stream.state.is_active]
        assert len(active) <= 1, "at most one run of a key is not ended"
        if run.stream.state is State.CLOSED and self.is_honest:
            for proxy in self.proxies.values():
                ghosts = [s for s in proxy.sessions.values() if s.stream_id == run.stream.id]
                assert not ghosts, "what is CLOSED does not play"

    def newest(self, key: Key) -> Run | None:
        return max((r for r in self.runs.values() if r.stream.key == key), key=lambda r: r.stream.epoch, default=None)

    def admit(self, event: StreamAnnounced | StreamEndAnnounced | StopRequested, key: Key) -> Verdict:
        run = self.newest(key)
        books = Books({key: run} if run else {}, self.floors)
        intake = Intake(books, self.now, lambda: StreamId(f"stream-{next(self.ids)}"))
        verdict = intake.admit(event)
        self.floors.update(intake.floors)
        for change in intake.changes():
            self.save(change)
        return verdict

    # The loop

    def observe(self) -> Observed:
        for proxy in self.proxies.values():
            if proxy.is_reachable:
                view = make.view(
                    *proxy.sessions.values(),
                    proxy_id=proxy.id,
                    boot_id=proxy.boot_id,
                    sequence=proxy.sequence,
                    observed_at=self.now,
                    is_draining=proxy.is_draining,
                )
            else:
                never = ProxyView(proxy.id, "http://x", Freshness.NEVER, error="timeout")
                last = self.views.get(proxy.id, never)
                silent = self.now - (last.observed_at or self.now)
                stale = Freshness.LOST if silent >= LOST_AFTER else Freshness.STALE
                view = replace(last, freshness=stale if last.observed_at else Freshness.NEVER, error="timeout")
            self.views[proxy.id] = view
        return Observed(tuple(self.views.values()))

    def read(self, observed: Observed) -> Desired:
        runs = tuple(r for r in self.runs.values() if r.stream.state is not State.CLOSED or r.placements)
        seen = {s.stream_id for view in observed.proxies for s in view.sessions}
        closed = {i: self.runs[i].stream for i in seen if i in self.runs and self.runs[i] not in runs}
        pending = frozenset((c.stream_id, c.generation, c.proxy_id) for c in self.outbox)
        drifts = MappingProxyType(dict(self.drifts))
        closed_since = 0
        if self.standing.glance is not None:
            since = self.standing.glance.at
            closed_since = sum(
                r.stream.closed_at is not None and r.stream.closed_at >= since for r in self.runs.values()
            )
        return Desired(
            runs,
            MappingProxyType(closed),
            drifts,
            pending,
            closed_since=closed_since,
            breaker=self.breaker,
            approvals=self.approvals,
            controls=Controls(self.controls),
        )

    def think(self, seen: Observed | None = None) -> Plan:
        """One cycle up to the saved intention."""
        observed, self.seen = seen or self.observe(), None
        desired = self.read(observed)
        thought = plan(desired, observed, self.policy, self.now, self.standing)
        anew = plan(desired, observed, self.policy, self.now, replace(self.standing, agreed=NOTHING_AGREED))
        assert thought == anew, "what is remembered saves time, and changes no plan"
        self.standing, self.breaker = thought.standing, thought.breaker
        self.approvals -= {thought.approval}
        check_laws(desired, observed, thought)
        for change in thought.changes:
            self.save(change)
        self.outbox.extend(thought.stops)
        self._remember(thought)
        # At the very same time: what waits for its turn may have it a millisecond later.
        again = plan(self.read(observed), observed, self.policy, self.now, self.standing)
        assert again.is_empty, f"planning twice on one reading: {[(a.verb, a.why) for a in again.actions]}"
        return thought

    def _remember(self, thought: Plan) -> None:
        seen = {a.drift.drift_key for a in thought.actions if a.drift}
        before, self.drifts = self.drifts, {}
        for key in seen:
            old = before.get(key, DriftSeen(self.now, 0))
            self.drifts[key] = replace(old, looks=old.looks + 1)

    def dispatch(self) -> None:
        for command in tuple(self.outbox):
            if command not in self.outbox or not self.proxies[command.proxy_id].is_reachable:
                continue
            self.deliver(command)

    def deliver(self, command: Command) -> None:
        reply = self.proxies[command.proxy_id].take(command, self.now)
        if command in self.outbox:
            self.outbox.remove(command)
        run = self.runs.get(command.stream_id)
        if run is not None:
            draft = Draft(run, Cause("reconciler", "reply"), self.now)
            answers.fold(draft, command, reply, POLICY.backoff)
            self.save(draft.change())

    def cycle(self) -> Plan:
        thought = self.think()
        self.dispatch()
        self.now += CYCLE
        return thought

    # The end

    def calm_down(self) -> None:
        for proxy in self.proxies.values():
            proxy.is_reachable = True
            if proxy.is_draining:
                proxy.boot()
        for command in self.delayed:
            self.proxies[command.proxy_id].take(command, self.now)
        self.delayed.clear()
        self.controls.clear()

    def faults(self) -> list[str]:
        """Where the world is not as the database wishes."""
        found = []
        for run in self.runs.values():
            found += self._faults_of(run)
        for proxy in self.proxies.values():
            found += [f"{s.stream_id} is unknown" for s in proxy.sessions.values() if s.stream_id not in self.runs]
        return found

    def _faults_of(self, run: Run) -> list[str]:
        stream = run.stream
        running = [(p.id, s) for p in self.proxies.values() for s in p.sessions.values() if s.stream_id == stream.id]
        if not stream.state.is_active:
            wrong = bool(running) or stream.state is not State.CLOSED or bool(run.placements)
            return [f"{stream.id} is {stream.state}, {run.placements}, {running}"] if wrong else []
        wanted = [(p.proxy_id, p.generation) for p in run.placements]
        seen = [(proxy_id, s.generation) for proxy_id, s in running]
        right = len(seen) == 1 and seen == wanted and stream.state is State.LIVE
        if right and self.proxies[seen[0][0]].specs[stream.key] == stream.spec:
            return []
        return [f"{stream.id} is {stream.state}: wanted {wanted}, running {seen}"]


def check_laws(desired: Desired, observed: Observed, thought: Plan) -> None:
    fresh = {view.proxy_id: view for view in observed.proxies if view.is_fresh}
    after = {run.stream.id: run for run in desired.runs} | {c.run.stream.id: c.run for c in thought.changes}
    commands = [command for change in thought.changes for command in change.commands] + list(thought.stops)
    targets = [(c.kind, c.proxy_id, c.key, c.stream_id, c.generation) for c in commands]
    assert len(targets) == len(set(targets)), f"the same order twice: {targets}"
    for command in commands:
        run = after.get(command.stream_id)
        is_active = run is not None and run.stream.state.is_active
        if command.proxy_id not in fresh:
            assert command.kind is CommandKind.STOP, "nothing is started on an unreachable proxy"
            assert not is_active, "nothing that plays is stopped on an unreachable proxy"
        elif command.kind is CommandKind.STOP and is_active:
            check_stop(command, fresh)
    closed = {t.stream_id for change in thought.changes for t in change.transitions if t.to_state is State.CLOSED}
    listed = {s.stream_id for view in observed.proxies for s in view.sessions}
    assert not closed & listed, "nothing is confirmed gone while it is listed"
    check_settled(desired, observed, thought)


def check_settled(desired: Desired, observed: Observed, thought: Plan) -> None:
    """A run that is passed over at a glance is one of which a long look finds nothing to say."""
    touched = {change.run.stream.id for change in thought.changes}
    warden = Warden(desired.controls, NEWCOMER, Purse(Budgets(), Limits(), make.NOW, is_braked=False))
    scene = Scene(desired, Fleet(observed, desired.keys), POLICY, make.NOW, warden, HeldEnds(desired, None))
    settled = Settled(scene)
    for run in desired.runs:
        if run not in settled.others:
            planner = RunPlanner(run, scene)
            planner.plan()
            assert (planner.actions, planner.draft.change()) == ([], None)
            assert run.stream.id not in touched


def check_stop(command: Command, fresh: dict[ProxyId, ProxyView]) -> None:
    """Only with its replacement in the same observation, or when it has finished, is a session of a run stopped."""
    sessions = [(view.proxy_id, s) for view in fresh.values() for s in view.sessions]
    ours = [(proxy_id, s) for proxy_id, s in sessions if s.stream_id == command.stream_id]
    target = [s for p, s in ours if (p, s.generation) == (command.proxy_id, command.generation)]
    others = [s for p, s in ours if (p, s.generation) != (command.proxy_id, command.generation)]
    if target:
        assert others or target[0].state is SessionState.FINISHED, f"{command.why}: it is the only session"


# What may happen. Every event takes the world and a number that it uses as it likes.

Event = Callable[[World, int], None]


def pick_run(world: World, n: int) -> Run | None:
    runs = list(world.runs.values())
    return runs[n % len(runs)] if runs else None


def pick_proxy(world: World, n: int) -> Proxy:
    return world.proxies[PROXIES[n % len(PROXIES)]]


def announce(world: World, n: int) -> None:
    key = KEYS[n % 2]
    order = Order(next(world.epochs[key]), 1)
    world.admit(StreamAnnounced(make.SOURCE, key, SPECS[n // 2 % 2], make.CAUSE, order, "boot"), key)


def update(world: World, n: int) -> None:
    key = KEYS[n % 2]
    run = world.newest(key)
    if run is not None:
        order = Order(run.stream.announced_epoch or 1, run.stream.seq + 1)
        world.admit(StreamAnnounced(make.SOURCE, key, SPECS[n // 2 % 2], make.CAUSE, order, "boot"), key)


def end(world: World, n: int) -> None:
    key = KEYS[n % 2]
    run = world.newest(key)
    if run is not None:
        order = Order(run.stream.announced_epoch or 1, run.stream.seq + 1)
        world.admit(StreamEndAnnounced(make.SOURCE, key, make.CAUSE, order, "boot"), key)


def stop(world: World, n: int) -> None:
    key = KEYS[n % 2]
    run = world.newest(key)
    if run is not None:
        world.admit(StopRequested(run.stream.id, Cause("operator:eve", "page")), key)


def cycle(world: World, n: int) -> None:
    world.cycle()


def think(world: World, n: int) -> None:
    """A crash after the intention was saved, or a slow dispatcher."""
    world.think()


def look(world: World, n: int) -> None:
    world.seen = world.observe()


def think_late(world: World, n: int) -> None:
    """Plan with a list from before much that has happened since: commands carried out, messages taken."""
    world.think(world.seen)


def wait(world: World, n: int) -> None:
    world.now += timedelta(seconds=n * 3)


def lose_reply(world: World, n: int) -> None:
    """The proxy obeys; the controller never hears of it and will send it again."""
    if world.outbox:
        command = world.outbox[n % len(world.outbox)]
        proxy = world.proxies[command.proxy_id]
        if proxy.is_reachable:
            proxy.take(command, world.now)


def delay(world: World, n: int) -> None:
    """A copy of the command is caught in the network."""
    if world.outbox:
        world.delayed.append(world.outbox[n % len(world.outbox)])


def arrive_late(world: World, n: int) -> None:
    if world.delayed:
        command = world.delayed.pop(n % len(world.delayed))
        world.proxies[command.proxy_id].take(command, world.now)


def deliver_out_of_turn(world: World, n: int) -> None:
    if world.outbox:
        command = world.outbox[n % len(world.outbox)]
        if world.proxies[command.proxy_id].is_reachable:
            world.deliver(command)


def reboot(world: World, n: int) -> None:
    pick_proxy(world, n).boot()


def cut_off(world: World, n: int) -> None:
    pick_proxy(world, n).is_reachable = False


def reconnect(world: World, n: int) -> None:
    pick_proxy(world, n).is_reachable = True


def drain(world: World, n: int) -> None:
    pick_proxy(world, n).is_draining = True


def restart_controller(world: World, n: int) -> None:
    world.views.clear()
    world.standing = Standing()


def fail_session(world: World, n: int) -> None:
    proxy = pick_proxy(world, n)
    for key, session in list(proxy.sessions.items())[:1]:
        proxy.sequence += 1
        proxy.sessions[key] = replace(session, state=SessionState.FINISHED, finished_reason="failed")


def limit(world: World, n: int) -> None:
    """An operator limits what the loop may do: everywhere, at a proxy, to a key."""
    scope, subjects = (
        (Scope.GLOBAL, ("",)),
        (Scope.PROXY, tuple(PROXIES)),
        (Scope.STREAM, tuple(KEYS)),
    )[n % 3]  # fmt: skip
    value = (Mode.OBSERVE, Mode.ADDITIVE_ONLY)[n // 3 % 2]
    world.controls = [Control(scope, subjects[n % len(subjects)], MODE, value.value, "bob", "", world.now)]


def allow_all(world: World, n: int) -> None:
    world.controls.clear()


FAULTS: tuple[Event, ...] = (
    announce,
    update,
    end,
    stop,
    cycle,
    think,
    look,
    think_late,
    wait,
    lose_reply,
    delay,
    arrive_late,
    deliver_out_of_turn,
    reboot,
    cut_off,
    reconnect,
    drain,
    restart_controller,
    fail_session,
    limit,
    allow_all,
)


def set_state(world: World, n: int) -> None:
    """UPDATE streams SET state = ..., with what the table's constraints ask for beside it."""
    run = pick_run(world, n)
    state = (State.ENDED, State.CLOSED, State.LIVE, State.PENDING)[n // 3 % 4]
    if run is None:
        return
    others = [r for r in world.runs.values() if r.stream.key == run.stream.key and r.stream.id != run.stream.id]
    if state.is_active and any(r.stream.state.is_active or r.stream.epoch > run.stream.epoch for r in others):
        return
    ended = None if state.is_active else world.now
    reason = None if state.is_active else Reason.OPERATOR_STOPPED
    closed = world.now if state is State.CLOSED else None
    stream = replace(run.stream, state=state, ended_at=ended, closed_at=closed, reason=reason, outcome=None)
    world.runs[stream.id] = replace(run, stream=stream)
    world.is_honest = False


def delete_placement(world: World, n: int) -> None:
    run = pick_run(world, n)
    if run is not None:
        world.runs[run.stream.id] = replace(run, placements=run.placements[1:])
        world.is_honest = False


def delete_command(world: World, n: int) -> None:
    if world.outbox:
        world.outbox.pop(n % len(world.outbox))


def inject_session(world: World, n: int) -> None:
    """Somebody else talks to a proxy: a copy of a run's session, or one of which no row tells."""
    run = pick_run(world, n)
    proxy = pick_proxy(world, n // 2)
    if run is None:
        return
    stream_id = StreamId(f"stranger-{n}") if n % 3 == 0 else run.stream.id
    generation = max(0, run.stream.generation + n // 4 - 1)
    fence = {"epoch": run.stream.epoch, "generation": generation}
    start = Command(
        CommandKind.ENSURE, proxy.id, proxy.boot_id, stream_id, run.stream.key, spec=run.stream.spec, **fence
    )
    proxy.take(start, world.now)
    world.is_honest = False


def kill_session(world: World, n: int) -> None:
    pick_proxy(world, n).kill(KEYS[n // 2 % 2])


DAMAGE: tuple[Event, ...] = (set_state, delete_placement, delete_command, inject_session, kill_session)


def happenings(*events: Event) -> st.SearchStrategy[list[tuple[Event, int]]]:
    one = st.tuples(st.sampled_from(events), st.integers(0, 11))
    return st.lists(one, max_size=25)


def live_through(world: World, story: list[tuple[Event, int]]) -> None:
    announce(world, 0)
    for event, n in story:
        event(world, n)
    world.calm_down()


def converge(world: World) -> None:
    """Leave the world alone until it is as wished, or for twice the longest memory of a proxy."""
    deadline = world.now + 2 * TOMBSTONE
    calm = 0
    while world.now < deadline and calm < 2:
        thought = world.cycle()
        if world.breaker.is_open:
            world.approvals = frozenset({thought.digest})
        calm = 0 if world.faults() or world.outbox else calm + 1
    assert world.faults() == []
    observed = world.observe()
    assert plan(world.read(observed), observed, world.policy, world.now, world.standing).is_empty
    assert not world.breaker.is_open


LAWS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LAWS
@given(story=happenings(*FAULTS), tells=st.booleans())
def test_after_any_faults_the_plan_reaches_the_wish_and_then_has_nothing_to_do(story, tells):
    world = World(tells_held_fence=tells)
    live_through(world, story)
    converge(world)


@LAWS
@given(story=happenings(*FAULTS, *DAMAGE, *DAMAGE), tells=st.booleans())
def test_after_any_damage_by_hand_the_plan_reaches_the_wish_and_then_has_nothing_to_do(story, tells):
    world = World(tells_held_fence=tells)
    live_through(world, story)
    converge(world)


STINGY = Policy(
    limits=Limits(
        evidenced_per_second=0.05, unevidenced_per_second=0.02, unevidenced_share=0.0, unevidenced_min=1
    )
)  # fmt: skip


@LAWS
@given(story=happenings(*FAULTS, *DAMAGE, *DAMAGE))
def test_with_hardly_any_budget_it_takes_longer_and_reaches_the_wish_all_the_same(story):
    """The breaker opens at once: somebody approves what it holds. Nothing else ever waits for anybody."""
    world = World(policy=STINGY)
    live_through(world, story)
    converge(world)


def inject_orphans(world: World, n: int) -> None:
    """Sessions of which no row tells, on both proxies: more than may be stopped without evidence."""
    for number in range(4):
        for proxy in world.proxies.values():
            fence = {"epoch": 1, "generation": 1}
            key = Key(f"ghost-{n}-{number}")
            start = Command(
                CommandKind.ENSURE, proxy.id, proxy.boot_id, StreamId(f"{key}-{proxy.id}"), key, spec=SPECS[0], **fence
            )
            proxy.take(start, world.now)
    world.is_honest = False


@settings(LAWS, max_examples=100)
@given(story=happenings(*FAULTS))
def test_an_open_breaker_holds_nothing_that_is_missing_or_proven(story):
    """Nobody approves: of the orphans none is ever stopped, and everything else comes to the wish."""
    world = World(policy=STINGY)
    live_through(world, story)
    inject_orphans(world, 0)
    ghosts = {f"ghost-0-{number}" for number in range(4)}

    def faults() -> list[str]:
        known = [fault for run in world.runs.values() for fault in world._faults_of(run)]
        strangers = [s for p in world.proxies.values() for s in p.sessions.values() if s.stream_id not in world.runs]
        return known + [s.stream_id for s in strangers if s.key not in ghosts]

    deadline = world.now + 2 * TOMBSTONE
    while world.now < deadline and (faults() or world.outbox):
        world.cycle()
    assert faults() == []
    for _ in range(20):
        world.cycle()
    assert world.breaker.is_open
    assert all(ghosts <= set(proxy.sessions) for proxy in world.proxies.values())


# Any reading at all, reachable or not.

STREAM_IDS = tuple(StreamId(f"stream-{n}") for n in range(3))
BOOTS = (BootId("boot-1"), BootId("boot-2"))
MAYBE_TIME = st.none() | st.sampled_from([make.later(-60), make.later(-1), make.NOW, make.later(60)])
STRANGE_SESSIONS = st.builds(
    Session,
    stream_id=st.sampled_from(STREAM_IDS),
    key=st.sampled_from(KEYS),
    epoch=st.integers(0, 3),
    generation=st.integers(0, 4),
    outputs=st.just(()),
    state=st.sampled_from(SessionState),
    finished_reason=st.sampled_from(["", "failed", "upstream_ended", "start_failed", "of another version"]),
    wanted=st.booleans(),
    delivered=st.booleans(),
    failing_seconds=st.none() | st.sampled_from([0.0, 5.0, 50.0]),
)
STRANGE_VIEWS = st.builds(
    ProxyView,
    proxy_id=st.sampled_from(PROXIES),
    url=st.just("http://x"),
    freshness=st.sampled_from(Freshness),
    boot_id=st.sampled_from(BOOTS),
    sequence=st.integers(0, 3),
    observed_at=MAYBE_TIME,
    is_draining=st.booleans(),
    sessions=st.lists(STRANGE_SESSIONS, max_size=2, unique_by=lambda s: s.key).map(tuple),
)


def strange_placements(stream_id: StreamId) -> st.SearchStrategy[tuple[Placement, ...]]:
    placements = st.builds(
        Placement,
        stream_id=st.just(stream_id),
        generation=st.integers(0, 4),
        proxy_id=st.sampled_from((*PROXIES, ProxyId("removed"))),
        boot_id=st.sampled_from(BOOTS),
        spec_generation=st.integers(0, 2),
        state=st.sampled_from([s for s in PlacementState if s is not PlacementState.GONE]),
        requested_at=st.just(make.later(-30)),
        observed_at=MAYBE_TIME,
        stopping_at=MAYBE_TIME,
        reply_sequence=st.none() | st.integers(0, 3),
        stop_replied=st.booleans(),
    )
    return st.lists(placements, max_size=3, unique_by=lambda p: p.generation).map(tuple)


def strange_run(stream_id: StreamId) -> st.SearchStrategy[Run]:
    streams = st.builds(
        Stream,
        id=st.just(stream_id),
        key=st.sampled_from(KEYS),
        source_id=st.just(SourceId("enc-1")),
        epoch=st.integers(0, 3),
        announced_epoch=st.none(),
        seq=st.just(0),
        source_boot_id=st.just(""),
        state=st.sampled_from(State),
        spec=st.sampled_from(SPECS),
        created_at=st.just(make.NOW),
        state_since=st.just(make.later(-20)),
        spec_generation=st.integers(0, 2),
        generation=st.integers(0, 4),
        stall_timeout_seconds=st.none() | st.sampled_from([0.0, 10.0, 100.0]),
        expires_at=MAYBE_TIME,
        failures=st.integers(0, 3),
        retry_at=MAYBE_TIME,
    )
    return st.builds(Run, streams, strange_placements(stream_id))


STRANGE_RUNS = st.tuples(*(st.none() | strange_run(stream_id) for stream_id in STREAM_IDS))


@settings(max_examples=400, deadline=None)
@given(
    runs=STRANGE_RUNS,
    views=st.lists(STRANGE_VIEWS, max_size=3),
    pending=st.frozensets(
        st.tuples(st.sampled_from(STREAM_IDS), st.integers(0, 4), st.sampled_from(PROXIES)), max_size=3
    ),
    stall_timeout=st.none() | st.just(timedelta(seconds=15)),
    keys=st.none() | st.frozensets(st.sampled_from(KEYS)),
)
def test_every_reading_gives_a_plan_and_the_same_reading_the_same_plan(runs, views, pending, stall_timeout, keys):
    found = tuple(run for run in runs if run is not None and (keys is None or run.stream.key in keys))
    desired = Desired(found, pending=pending, keys=keys)
    policy = Policy(stall_timeout=stall_timeout)
    thought = plan(desired, Observed(tuple(views)), policy, make.NOW)
    assert thought == plan(desired, Observed(tuple(views)), policy, make.NOW)
    if len({view.proxy_id for view in views}) == len(views):
        check_laws(desired, Observed(tuple(views)), thought)
