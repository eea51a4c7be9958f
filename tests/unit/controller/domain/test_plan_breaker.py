"""What is stopped without evidence, and what is proven: how many, how fast, and what opens or shuts the breaker."""

from dataclasses import dataclass, field, replace
from types import MappingProxyType

import pytest

from controller.domain.admission import Books, Intake
from controller.domain.breaker import Breaker
from controller.domain.budgets import BURST_SECONDS, Limits
from controller.domain.controls import PAUSE, Control, Controls, Scope
from controller.domain.events import Order, StreamEndAnnounced
from controller.domain.model import BootId, CommandKind, Key, ProxyId, Run, State, StreamId
from controller.domain.observation import Desired, DriftKey, DriftSeen, Observed, ProxyView, Session
from controller.domain.plan import DriftKind, GateKind, Plan, Policy, Standing, Verb, plan
from tests.fakes import domain_values as make

BURST = int(5 * BURST_SECONDS)
PAUSED = Controls((Control(Scope.GLOBAL, "", PAUSE, "", "ann", "a look", make.NOW, make.later(10**6)),))


def stranger(number: int) -> Session:
    return make.session(stream_id=StreamId(f"x{number}"), key=Key(f"ghost-{number}"))


def live(number: int) -> Run:
    return make.run(
        State.LIVE, make.placement(stream_id=StreamId(f"s{number}")), id=StreamId(f"s{number}"), key=Key(f"k{number}")
    )


def session_of(run: Run) -> Session:
    return make.session(stream_id=run.stream.id, key=run.stream.key)


def ended(number: int) -> tuple[Session, dict[StreamId, object]]:
    stream = make.stream(State.CLOSED, id=StreamId(f"old{number}"), key=Key(f"old-{number}"))
    return make.session(stream_id=stream.id, key=stream.key), {stream.id: stream}


@dataclass
class Loop:
    """Plans one after the other, as a controller does: what one leaves the next begins with."""

    standing: Standing = field(default_factory=Standing)
    breaker: Breaker = field(default_factory=Breaker)
    approvals: frozenset[str] = frozenset()
    policy: Policy = field(default_factory=Policy)

    def plan(self, views: tuple[ProxyView, ...], runs: tuple[Run, ...] = (), at: float = 0, **more: object) -> Plan:
        ripe = {
            DriftKey(DriftKind.ORPHAN_UNKNOWN, v.proxy_id, s.stream_id, s.generation): DriftSeen(make.later(-99), 9)
            for v in views
            for s in v.sessions
        }
        desired = Desired(
            runs, drifts=MappingProxyType(ripe), breaker=self.breaker, approvals=self.approvals, **more
        )  # fmt: skip
        thought = plan(desired, Observed(views), self.policy, make.later(at), self.standing)
        self.standing, self.breaker = thought.standing, thought.breaker
        self.approvals -= {thought.approval}
        return thought


def gates(thought: Plan) -> list[GateKind | None]:
    return [a.gate_kind for a in thought.actions if a.verb is Verb.HOLD]


@pytest.fixture
def loop() -> Loop:
    return Loop()


class TestWithoutEvidence:
    def test_a_few_are_stopped_and_no_more_within_the_window(self, loop):
        assert len(loop.plan((make.view(*map(stranger, range(3))),)).stops) == 3
        assert loop.breaker.spent == ((make.NOW, 3),)
        again = loop.plan((make.view(stranger(9)),), at=60)
        assert (again.stops, gates(again)) == ((), [GateKind.BUDGET])
        assert not loop.breaker.is_open
        assert len(loop.plan((make.view(stranger(9)),), at=601).stops) == 1

    def test_of_many_sessions_a_part_may_go_at_its_rate(self, loop):
        runs = tuple(map(live, range(186)))
        ghosts = tuple(map(stranger, range(14)))
        view = make.view(*map(session_of, runs), *ghosts)
        gone = {stop.stream_id for stop in loop.plan((view,), runs).stops}
        assert len(gone) == 10, "one each second since the last look"
        left = (session for session in view.sessions if session.stream_id not in gone)
        assert len(loop.plan((make.view(*left),), runs, at=3).stops) == 3

    def test_part_of_the_world_decides_nothing(self, loop):
        thought = loop.plan((make.view(stranger(0)),), keys=frozenset({Key("ghost-0")}))
        assert (thought.stops, gates(thought)) == ((), [GateKind.FULL_LOOK])
        assert (thought.standing.glance, thought.is_breaker_changed) == (None, False)


class TestOpen:
    """A database that was restored: a whole fleet of which it knows nothing."""

    GHOSTS = make.view(*map(stranger, range(40)))

    def opened(self, loop: Loop) -> Plan:
        thought = loop.plan((self.GHOSTS,))
        assert loop.breaker.is_open
        return thought

    def test_nothing_is_stopped_for_want_of_a_row(self, loop):
        thought = self.opened(loop)
        assert (thought.stops, set(gates(thought))) == ((), {GateKind.BREAKER})
        assert "40 of 40 sessions" in loop.breaker.cause
        assert loop.plan((self.GHOSTS,), at=10**6).stops == (), "however long"

    def test_what_is_missing_is_started_and_what_is_proven_is_stopped_slowly(self, loop):
        self.opened(loop)
        new = make.run(State.PENDING)
        session, closed = ended(0)
        view = make.view(*self.GHOSTS.sessions, session)
        thought = loop.plan((view,), (new,), at=1, closed=MappingProxyType(closed))
        assert [c.kind for change in thought.changes for c in change.commands] == [CommandKind.ENSURE]
        assert [stop.stream_id for stop in thought.stops] == [session.stream_id]

    def test_no_amount_of_proven_ones_is_held_for_ever(self, loop):
        self.opened(loop)
        many = dict(ended(number) for number in range(50))
        closed = MappingProxyType({key: value for found in many.values() for key, value in found.items()})
        left, at = list(many), 0.0
        while left:
            at += 1
            assert at < 120, "two seconds each"
            view = make.view(*self.GHOSTS.sessions, *left)
            gone = {stop.stream_id for stop in loop.plan((view,), at=at, closed=closed).stops}
            left = [session for session in left if session.stream_id not in gone]
        assert loop.breaker.is_open

    def test_two_quiet_plans_close_it(self, loop):
        self.opened(loop)
        for at in (10, 20):
            assert loop.breaker.is_open
            loop.plan((make.view(),), at=at)
        assert not loop.breaker.is_open

    @pytest.mark.parametrize("ghosts", [pytest.param(40, id="too many"), pytest.param(3, id="as many as are allowed")])
    @pytest.mark.parametrize("held", ["a pause", "the startup"])
    def test_what_is_held_anyhow_keeps_it_open_as_long_as_it_would_open_it(self, loop, held, ghosts):
        self.opened(loop)
        view = replace(self.GHOSTS, sessions=self.GHOSTS.sessions[:ghosts])
        gate = GateKind.CONTROL if held == "a pause" else GateKind.STARTUP
        loop.standing = replace(loop.standing, startup="a proxy was not listed" if held == "the startup" else "")
        paused = {"controls": PAUSED} if held == "a pause" else {}
        for at in (10, 20, 30):
            thought = loop.plan((view,), at=at, **paused)
            assert (thought.stops, set(gates(thought))) == ((), {gate})
        assert loop.breaker.is_open is (ghosts == 40)
        loop.standing = replace(loop.standing, startup="")
        thought = loop.plan((view,), at=40)
        assert (len(thought.stops), loop.breaker.is_open) == ((0, True) if ghosts == 40 else (3, False))

    def test_what_is_held_anyhow_opens_nothing(self, loop):
        assert loop.plan((self.GHOSTS,), controls=PAUSED).stops == ()
        assert not loop.breaker.is_open

    def test_an_approval_while_it_is_paused_closes_it_and_stops_nothing(self, loop):
        self.opened(loop)
        loop.approvals = frozenset({loop.plan((self.GHOSTS,), at=10, controls=PAUSED).digest})
        assert loop.plan((self.GHOSTS,), at=20, controls=PAUSED).stops == ()
        assert not loop.breaker.is_open

    def test_an_approval_of_its_digest_releases_exactly_that_once(self, loop):
        name = self.opened(loop).digest
        loop.approvals = frozenset({name, "another"})
        thought = loop.plan((self.GHOSTS,), at=10)
        assert (len(thought.stops), thought.approval, loop.breaker.is_open) == (40, name, False)
        assert loop.approvals == {"another"}
        opened_again = loop.plan((self.GHOSTS,), at=20)
        assert (opened_again.stops, loop.breaker.is_open) == ((), True)
        assert opened_again.digest != name

    def test_an_approval_of_another_plan_releases_nothing(self, loop):
        loop.approvals = frozenset({self.opened(loop).digest})
        one_more = make.view(*self.GHOSTS.sessions, stranger(99))
        assert loop.plan((one_more,), at=10).stops == ()
        assert loop.breaker.is_open

    def test_a_digest_is_the_same_until_something_changes(self, loop):
        first = self.opened(loop).digest
        assert loop.plan((self.GHOSTS,), at=10).digest == first != ""


class TestOtherCauses:
    def test_a_database_that_lost_most_of_its_rows(self, loop):
        runs = tuple(map(live, range(40)))
        view = make.view(*map(session_of, runs))
        loop.plan((view,), runs)
        thought = loop.plan((view,), runs[:10], at=10)
        assert "40 runs and has 10" in thought.breaker.cause
        assert thought.stops == ()

    def test_streams_that_ended_are_no_lost_rows(self, loop):
        runs = tuple(map(live, range(40)))
        loop.plan((make.view(*map(session_of, runs)),), runs)
        assert not loop.plan((make.view(),), (), at=10, closed_since=40).breaker.is_open

    def test_all_proxies_empty_at_once(self, loop):
        runs = tuple(map(live, range(20)))
        other = make.view(proxy_id=make.P2, boot_id=BootId("boot-2"))
        loop.plan((make.view(*map(session_of, runs)), other), runs)
        thought = loop.plan((make.view(sequence=11), other), runs, at=10)
        assert "empty at once" in thought.breaker.cause
        started = [c.kind for change in thought.changes for c in change.commands]
        assert started == [CommandKind.ENSURE] * 20, "what is missing is started all the same"

    def test_a_plan_that_would_empty_a_proxy(self, loop):
        runs = tuple(map(live, range(96)))
        ghosts = make.view(*map(stranger, range(4)), proxy_id=make.P2, boot_id=BootId("boot-2"))
        thought = loop.plan((make.view(*map(session_of, runs)), ghosts), runs)
        assert "all 4 sessions of proxy p2" in thought.breaker.cause
        assert thought.stops == ()


class TestProven:
    def test_a_flood_goes_at_the_rate_of_its_proxy(self, loop):
        found = [ended(number) for number in range(60)]
        closed = MappingProxyType({key: value for _, values in found for key, value in values.items()})
        left, counts = [session for session, _ in found], []
        for at in range(9):
            thought = loop.plan((make.view(*left),), at=at, closed=closed)
            counts.append(len(thought.stops))
            gone = {stop.stream_id for stop in thought.stops}
            left = [session for session in left if session.stream_id not in gone]
        assert counts == [BURST] + [5] * 8
        assert not left
        assert not loop.breaker.is_open

    def test_a_thousand_ends_that_were_announced_are_not_slowed(self):
        """They are decided where they are announced: every placement stops and every proxy is told in that change."""
        runs = {run.stream.key: run for run in map(live, range(1000))}
        intake = Intake(Books(runs), make.NOW, lambda: StreamId("none"))
        for key in runs:
            intake.admit(StreamEndAnnounced(make.SOURCE, key, make.CAUSE, Order(1, 2)))
        changes = intake.changes()
        assert sum(command.kind is CommandKind.STOP for change in changes for command in change.commands) == 1000
        # Whatever of that is lost is told again by the next plan, all of it.
        loop = Loop(policy=Policy(limits=Limits(evidenced_per_second=0.001)))
        told = tuple(change.run for change in changes)
        views = (make.view(*(session_of(run) for run in told)),)
        again = loop.plan(views, told, at=6)
        assert sum(len(change.commands) for change in again.changes) == 1000
        assert {action.drift.kind for action in again.actions if action.drift} == {DriftKind.STUCK_STOPPING}
        assert GateKind.BUDGET not in gates(again)
        assert not again.breaker.is_open

    def test_placements_left_wanted_by_hand_go_at_the_rate_too(self, loop):
        runs = tuple(
            make.run(State.ENDED, make.placement(stream_id=StreamId(f"s{n}")), id=StreamId(f"s{n}"), key=Key(f"k{n}"))
            for n in range(30)
        )
        thought = loop.plan((make.view(*map(session_of, runs)),), runs)
        assert sum(len(change.commands) for change in thought.changes) == BURST
        assert gates(thought) == [GateKind.BUDGET] * 10


def test_every_proxy_has_its_own_rate(loop):
    found = [ended(number) for number in range(2 * BURST)]
    closed = MappingProxyType({key: value for _, values in found for key, value in values.items()})
    sessions = [session for session, _ in found]
    views = (
        make.view(*sessions[:BURST]),
        make.view(*sessions[BURST:], proxy_id=ProxyId("p2"), boot_id=BootId("boot-2")),
    )
    assert len(loop.plan(views, closed=closed).stops) == 2 * BURST
