"""Every kind of drift, its evidence and its gate; and the rules that no drift is worth breaking."""

from datetime import timedelta
from types import MappingProxyType

import pytest

from controller.domain.model import (
    BootId,
    CommandKind,
    ConditionStatus,
    ConditionType,
    Key,
    OnEof,
    PlacementState,
    ProxyId,
    Reason,
    Run,
    State,
    StreamId,
    StreamSpec,
)
from controller.domain.observation import Desired, DriftKey, DriftSeen, Freshness, Observed, SessionState
from controller.domain.plan import NEWCOMER, DriftClass, DriftKind, Plan, Policy, Standing, Verb, plan
from tests.fakes import domain_values as make

STRANGER = StreamId("stream-x")
REQUESTED, OBSERVED, STOPPING = PlacementState.REQUESTED, PlacementState.OBSERVED, PlacementState.STOPPING
ON_P2 = {"proxy_id": make.P2, "boot_id": BootId("boot-2")}
IDLE = make.view(**ON_P2)


def planned(*args, at: float = 0, policy: Policy | None = None, standing: Standing = NEWCOMER, **reading) -> Plan:
    """Plan for some runs (first) and views (after them)."""
    runs = tuple(arg for arg in args if isinstance(arg, Run))
    views = tuple(arg for arg in args if not isinstance(arg, Run))
    return plan(Desired(runs, **reading), Observed(views), policy or Policy(), make.later(at), standing)


def the_run(thought: Plan, stream_id: StreamId = make.ID) -> Run:
    return next(change.run for change in thought.changes if change.run.stream.id == stream_id)


def commands(thought: Plan) -> list[tuple[CommandKind, str, int]]:
    found = [c for change in thought.changes for c in change.commands] + list(thought.stops)
    return [(c.kind, c.proxy_id, c.generation) for c in found]


def drifts(thought: Plan) -> list[tuple[DriftKind, Verb]]:
    return [(a.drift.kind, a.verb) for a in thought.actions if a.drift]


def settled() -> Run:
    """A run that plays, with every condition said."""
    return the_run(planned(make.run(State.LIVE, make.placement()), make.view(make.session())))


def test_what_runs_as_wished_needs_nothing():
    thought = planned(settled(), make.view(make.session()))
    assert thought.is_empty
    assert thought.actions == ()


def test_every_drift_has_a_class():
    assert {kind.drift_class for kind in DriftKind} == set(DriftClass)


class TestPlacing:
    def test_a_new_run_is_placed_where_least_runs(self):
        busy = make.view(make.session(stream_id=STRANGER, key=Key("b"), epoch=0))
        thought = planned(make.run(State.PENDING, generation=4), busy, IDLE)
        assert commands(thought)[:1] == [(CommandKind.ENSURE, make.P2, 5)]
        assert the_run(thought).stream.state is State.STARTING

    def test_many_new_runs_spread(self):
        runs = [make.run(State.PENDING, id=StreamId(f"s{n}"), key=Key(f"k{n}")) for n in range(10)]
        thought = planned(*runs, make.view(), IDLE)
        places = [proxy_id for _, proxy_id, _ in commands(thought)]
        assert (places.count(make.P1), places.count(make.P2)) == (5, 5)

    def test_a_proxy_that_runs_the_key_already_keeps_it(self):
        ours = make.session(generation=1)
        other = make.session(stream_id=STRANGER, key=Key("b"))
        thought = planned(make.run(State.STARTING), make.view(ours, other), IDLE)
        assert (CommandKind.ENSURE, make.P1, 2) in commands(thought)

    @pytest.mark.parametrize(
        "view",
        [make.view(freshness=Freshness.STALE), make.view(is_draining=True), None],
        ids=["unreachable", "draining", "there is none"],
    )
    def test_nowhere_to_go_is_said(self, view):
        thought = planned(make.run(State.PENDING), *([view] if view else []))
        assert commands(thought) == []
        assert the_run(thought).stream.condition(ConditionType.PLACED).reason == "NoProxy"

    def test_after_a_failure_it_waits_and_says_so(self):
        run = make.run(State.STARTING, retry_at=make.later(5), failures=2)
        waiting = planned(run, make.view())
        assert commands(waiting) == []
        assert the_run(waiting).stream.condition(ConditionType.PLACED).reason == "BackingOff"
        assert commands(planned(run, make.view(), at=5)) == [(CommandKind.ENSURE, make.P1, 2)]

    def test_what_a_reply_has_said_of_a_failure_stays(self):
        draft_run = make.run(State.STARTING, retry_at=make.later(5), failures=1)
        said = the_run(planned(make.run(State.PENDING)))
        run = Run(make.stream(State.STARTING, retry_at=draft_run.stream.retry_at, conditions=said.stream.conditions))
        assert planned(run, make.view()).is_empty

    def test_a_proxy_with_a_newer_epoch_is_not_overruled(self):
        newer = make.session(stream_id=STRANGER, epoch=2)
        thought = planned(make.run(State.PENDING), make.view(newer))
        assert commands(thought) == []
        assert the_run(thought).stream.condition(ConditionType.PLACED).reason == "NewerThanDatabase"
        assert drifts(thought) == [(DriftKind.NEWER_THAN_DATABASE, Verb.HOLD)]

    def test_generations_go_on_above_placements_that_the_stream_row_does_not_know(self):
        run = make.run(State.LIVE, make.placement(STOPPING, generation=6), generation=2)
        thought = planned(run, make.view(make.session(generation=6)), at=1)
        assert (CommandKind.ENSURE, make.P1, 7) in commands(thought)


class TestObserving:
    @pytest.mark.parametrize("state", [State.PENDING, State.STARTING], ids=str)
    def test_a_session_that_was_seen_makes_its_run_live(self, state):
        thought = planned(make.run(state, make.placement(REQUESTED)), make.view(make.session()))
        run = the_run(thought)
        assert (run.stream.state, run.placements[0].state) == (State.LIVE, OBSERVED)
        assert commands(thought) == []
        placed = run.stream.condition(ConditionType.PLACED)
        assert (placed.status, placed.reason) == (ConditionStatus.TRUE, "Observed")

    def test_a_start_on_its_way_is_waited_for(self):
        run = make.run(State.STARTING, make.placement(REQUESTED))
        thought = planned(run, make.view(), at=99, pending=frozenset({(make.ID, 1, make.P1)}))
        assert commands(thought) == []
        assert the_run(thought).stream.condition(ConditionType.PLACED).reason == "Requested"

    @pytest.mark.parametrize(
        ("state", "status", "reason"),
        [
            (SessionState.FLOWING, ConditionStatus.TRUE, "Flowing"),
            (SessionState.IDLE, ConditionStatus.UNKNOWN, "Idle"),
            (SessionState.CONNECTING, ConditionStatus.FALSE, "Connecting"),
            (SessionState.WAITING, ConditionStatus.FALSE, "Waiting"),
        ],
    )
    def test_the_session_says_whether_it_flows(self, state, status, reason):
        thought = planned(make.run(State.LIVE, make.placement()), make.view(make.session(state)))
        flowing = the_run(thought).stream.condition(ConditionType.FLOWING)
        assert (flowing.status, flowing.reason) == (status, reason)

    def test_bytes_make_failures_forgotten(self):
        run = make.run(State.LIVE, make.placement(), failures=3)
        assert the_run(planned(run, make.view(make.session()))).stream.failures == 0


class TestMissingSessions:
    def test_a_start_that_was_never_answered_is_sent_again_after_its_grace(self):
        run = make.run(State.STARTING, make.placement(REQUESTED))
        assert commands(planned(run, make.view(), at=4.9)) == []
        thought = planned(run, make.view(), at=5)
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 1)]
        assert drifts(thought) == [(DriftKind.MISSING_SESSION, Verb.RESEND)]

    def test_it_is_not_sent_again_with_another_spec_at_the_same_fence(self):
        run = make.run(State.STARTING, make.placement(REQUESTED), spec_generation=2)
        assert commands(planned(run, make.view(), at=5)) == [(CommandKind.ENSURE, make.P1, 2)]

    def test_a_list_older_than_the_reply_proves_nothing(self):
        run = make.run(State.STARTING, make.placement(REQUESTED, reply_sequence=11))
        assert commands(planned(run, make.view(sequence=10), at=99)) == []

    @pytest.mark.parametrize(
        "placement",
        [
            pytest.param(make.placement(REQUESTED, reply_sequence=10), id="answered, and not in the next list"),
            pytest.param(make.placement(OBSERVED, reply_sequence=3), id="seen before, and not any more"),
            pytest.param(make.placement(OBSERVED), id="seen before although the reply was lost"),
            pytest.param(make.placement(OBSERVED, boot_id=BootId("boot-0")), id="its proxy has restarted"),
        ],
    )
    def test_a_session_that_surely_is_not_there_gets_a_new_generation(self, placement):
        thought = planned(make.run(State.LIVE, placement), make.view())
        assert drifts(thought) == [(DriftKind.MISSING_SESSION, Verb.CONFIRM_GONE)]
        assert thought.actions[0].drift.evidence
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 2)]
        assert the_run(thought).stream.state is State.STARTING
        assert [p.generation for p in the_run(thought).placements] == [2]

    def test_a_stalled_run_stays_stalled_while_its_session_is_replaced(self):
        thought = planned(make.run(State.STALLED, make.placement()), make.view())
        assert the_run(thought).stream.state is State.STALLED

    def test_a_row_that_says_live_by_hand_is_not_believed(self):
        thought = planned(make.run(State.LIVE), make.view())
        assert the_run(thought).stream.state is State.STARTING
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 2)]

    def test_a_deleted_placement_is_placed_over_its_session(self):
        thought = planned(make.run(State.LIVE), make.view(make.session()), IDLE)
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 2)]
        assert the_run(thought).stream.state is State.LIVE, "its session still plays"


class TestUnknownIsNotAbsent:
    @pytest.mark.parametrize("freshness", [Freshness.STALE, Freshness.LOST, Freshness.NEVER], ids=str)
    def test_without_another_proxy_nothing_is_moved(self, freshness):
        view = make.view(freshness=freshness, error="timeout")
        thought = planned(make.run(State.LIVE, make.placement()), view, at=5)
        assert commands(thought) == []
        flowing = the_run(thought).stream.condition(ConditionType.FLOWING)
        assert (flowing.status, flowing.reason) == (ConditionStatus.UNKNOWN, "ProxyUnreachable")
        assert the_run(thought).stream.state is State.LIVE

    @pytest.mark.parametrize("views", [[make.view(freshness=Freshness.STALE)], []], ids=["stale", "not configured"])
    def test_it_is_stalled_after_a_while(self, views):
        thought = planned(make.run(State.LIVE, make.placement()), *views, at=10)
        assert the_run(thought).stream.state is State.STALLED
        assert commands(thought) == []

    @pytest.mark.parametrize("freshness", [Freshness.STALE, Freshness.NEVER], ids=str)
    def test_it_is_not_moved_before_its_proxy_is_lost(self, freshness):
        thought = planned(make.run(State.LIVE, make.placement()), make.view(freshness=freshness), IDLE)
        assert commands(thought) == []

    @pytest.mark.parametrize(
        ("before", "after"), [(State.LIVE, State.STARTING), (State.STALLED, State.STALLED)], ids=str
    )
    def test_it_is_moved_when_its_proxy_is_lost_and_nothing_is_killed(self, before, after):
        lost = make.view(make.session(), freshness=Freshness.LOST)
        thought = planned(make.run(before, make.placement()), lost, IDLE)
        assert drifts(thought) == [(DriftKind.PROXY_LOST, Verb.MOVE)]
        assert commands(thought) == [(CommandKind.ENSURE, make.P2, 2)]
        run = the_run(thought)
        assert [(p.generation, p.state) for p in run.placements] == [(1, STOPPING), (2, REQUESTED)]
        assert run.stream.state is after

    @pytest.mark.parametrize("stale", [True, False], ids=["listed last by a stale proxy", "listed nowhere"])
    def test_the_end_is_not_confirmed_while_a_session_may_run(self, stale):
        last = make.view(*([make.session()] if stale else []), freshness=Freshness.STALE)
        thought = planned(make.run(State.ENDED), last)
        assert the_run(thought).stream.state is (State.ENDED if stale else State.CLOSED) if thought.changes else stale


class TestMakeBeforeBreak:
    def moving(self, *placements) -> Run:
        return make.run(State.STARTING, *placements, generation=2)

    def test_the_old_session_waits_until_this_observation_shows_the_new_one(self):
        run = self.moving(make.placement(STOPPING), make.placement(REQUESTED, generation=2, **ON_P2))
        pending = frozenset({(make.ID, 2, make.P2)})
        assert commands(planned(run, make.view(make.session()), IDLE, at=99, pending=pending)) == []
        seen = make.view(make.session(generation=2), **ON_P2)
        assert commands(planned(run, make.view(make.session()), seen)) == [(CommandKind.STOP, make.P1, 1)]

    def test_a_new_session_that_is_over_is_no_replacement(self):
        over = make.session(generation=2, state=SessionState.FINISHED, finished_reason="failed")
        run = self.moving(make.placement(STOPPING), make.placement(OBSERVED, generation=2, **ON_P2))
        thought = planned(run, make.view(make.session()), make.view(over, **ON_P2))
        assert commands(thought) == [(CommandKind.STOP, make.P2, 2)]

    def test_a_new_session_seen_earlier_is_no_permission(self):
        run = self.moving(make.placement(STOPPING), make.placement(OBSERVED, generation=2, **ON_P2))
        unreachable = make.view(make.session(generation=2), freshness=Freshness.STALE, **ON_P2)
        assert commands(planned(run, make.view(make.session()), unreachable)) == []

    def test_of_two_wanted_placements_the_older_retires(self):
        run = self.moving(make.placement(), make.placement(generation=2, **ON_P2))
        seen = make.view(make.session(generation=2), **ON_P2)
        thought = planned(run, make.view(make.session()), seen)
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]

    def test_another_spec_takes_the_key_in_place(self):
        run = make.run(State.LIVE, make.placement(), spec_generation=2, spec=make.OTHER_SPEC)
        thought = planned(run, make.view(make.session()), IDLE)
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 2)]
        assert [a.verb for a in thought.actions] == [Verb.REPLACE]
        assert the_run(thought).stream.state is State.LIVE

    def test_what_was_replaced_in_place_is_gone_without_a_stop(self):
        run = self.moving(make.placement(STOPPING), make.placement(REQUESTED, generation=2))
        thought = planned(run, make.view(make.session(generation=2)))
        assert commands(thought) == []
        assert [p.generation for p in the_run(thought).placements] == [2]


class TestStopping:
    def ended(self, **fields) -> Run:
        return make.run(State.ENDED, make.placement(STOPPING, **fields))

    def test_a_stop_on_its_way_is_waited_for(self):
        thought = planned(self.ended(), make.view(make.session()), at=1, pending=frozenset({(make.ID, 1, make.P1)}))
        assert commands(thought) == []

    def test_a_stop_that_was_never_answered_is_sent_again(self):
        assert commands(planned(self.ended(), make.view())) == [(CommandKind.STOP, make.P1, 1)]

    @pytest.mark.parametrize(("at", "found"), [(4, []), (5, [(DriftKind.STUCK_STOPPING, Verb.RESEND)])])
    def test_a_session_that_does_not_go_is_drift_after_its_grace(self, at, found):
        run = self.ended(stop_replied=True, reply_sequence=9)
        thought = planned(run, make.view(make.session()), at=at)
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]
        assert drifts(thought) == found

    def test_a_list_from_before_the_reply_proves_nothing_either_way(self):
        run = self.ended(stop_replied=True, reply_sequence=11)
        assert commands(planned(run, make.view(make.session()), at=60)) == []
        assert "CONFIRM_GONE" not in [a.verb.name for a in planned(run, make.view()).actions]

    @pytest.mark.parametrize(
        ("placement", "view"),
        [
            pytest.param(
                make.placement(STOPPING, stop_replied=True, reply_sequence=10),
                make.view(),
                id="answered and not listed",
            ),
            pytest.param(make.placement(STOPPING, boot_id=BootId("boot-0")), make.view(), id="its proxy has restarted"),
        ],
    )
    def test_a_session_that_is_surely_gone_closes_its_run(self, placement, view):
        thought = planned(make.run(State.ENDED, placement), view)
        run = the_run(thought)
        assert (run.stream.state, run.placements, commands(thought)) == (State.CLOSED, (), [])
        assert run.stream.condition(ConditionType.SESSIONS_STOPPED).status is ConditionStatus.TRUE

    def test_an_unreachable_proxy_is_waited_for_and_named(self):
        thought = planned(self.ended(), make.view(freshness=Freshness.LOST), IDLE, at=999)
        assert commands(thought) == []
        condition = the_run(thought).stream.condition(ConditionType.SESSIONS_STOPPED)
        assert (condition.reason, condition.message) == ("ProxyUnreachable", "waiting for p1")

    def test_a_placement_that_somebody_left_wanted_is_stopped_once(self):
        run = make.run(State.ENDED, make.placement())
        thought = planned(run, make.view(make.session()))
        assert drifts(thought) == [(DriftKind.PLACEMENT_NOT_STOPPING, Verb.STOP)]
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]

    def test_one_whose_proxy_has_restarted_is_gone(self):
        run = make.run(State.ENDED, make.placement(boot_id=BootId("boot-0")))
        thought = planned(run, make.view())
        assert (the_run(thought).stream.state, commands(thought)) == (State.CLOSED, [])

    def test_a_run_closed_by_hand_is_stopped_all_the_same(self):
        thought = planned(make.run(State.CLOSED, make.placement()), make.view(make.session()))
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]
        assert the_run(thought).stream.state is State.CLOSED

    def test_an_ended_run_whose_placement_was_deleted_is_not_closed_while_it_plays(self):
        thought = planned(make.run(State.ENDED), make.view(make.session()))
        assert thought.changes == ()
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]


class TestFinished:
    @pytest.mark.parametrize("state", [State.PENDING, State.STARTING, State.LIVE, State.STALLED], ids=str)
    @pytest.mark.parametrize("reason", ["upstream_ended", "start_failed"])
    def test_what_is_over_by_itself_ends_its_run(self, state, reason):
        over = make.session(SessionState.FINISHED, finished_reason=reason, detail="EOF")
        thought = planned(make.run(state, make.placement()), make.view(over))
        stream = the_run(thought).stream
        assert (stream.state, stream.reason, stream.reason_detail) == (State.ENDED, Reason(reason), "EOF")
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]
        ending = next(c for c in thought.changes).transitions[-1]
        assert ending.cause.detail == f"the session finished: {reason}"

    @pytest.mark.parametrize(
        ("before", "after"),
        [(State.PENDING, State.STARTING), (State.LIVE, State.STARTING), (State.STALLED, State.STALLED)],
        ids=str,
    )
    def test_what_failed_is_stopped_and_tried_again_later(self, before, after):
        failed = make.session(SessionState.FINISHED, finished_reason="failed")
        thought = planned(make.run(before, make.placement()), make.view(failed))
        stream = the_run(thought).stream
        assert (stream.state, stream.failures, stream.retry_at) == (after, 1, make.later(0.5))
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]

    @pytest.mark.parametrize("reason", ["upstream_ended", "failed"])
    def test_what_is_over_and_no_longer_wished_is_replaced(self, reason):
        over = make.session(SessionState.FINISHED, finished_reason=reason)
        run = make.run(State.LIVE, make.placement(), spec_generation=2)
        thought = planned(run, make.view(over))
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 2)]
        again = planned(the_run(thought), make.view(over), pending=frozenset({(make.ID, 2, make.P1)}))
        assert again.is_empty, "and waits for that"

    def test_a_failed_one_needs_no_replacement_to_be_stopped(self):
        failed = make.session(SessionState.FINISHED, finished_reason="failed")
        run = make.run(State.STARTING, make.placement(STOPPING), retry_at=make.later(60))
        assert commands(planned(run, make.view(failed))) == [(CommandKind.STOP, make.P1, 1)]


class TestFlow:
    SILENT = make.session(SessionState.STALLED, delivered=True, failing_seconds=10.0)

    def test_a_wanted_upstream_that_is_silent_stalls_its_run(self):
        thought = planned(make.run(State.LIVE, make.placement()), make.view(self.SILENT))
        assert the_run(thought).stream.state is State.STALLED

    def test_nobody_watching_is_not_silence(self):
        idle = make.session(SessionState.IDLE, delivered=True, failing_seconds=10.0)
        thought = planned(make.run(State.LIVE, make.placement()), make.view(idle))
        assert the_run(thought).stream.state is State.LIVE

    @pytest.mark.parametrize(("on_demand", "state"), [(True, State.LIVE), (False, State.STALLED)])
    def test_a_start_that_fails_stalls_only_what_is_always_on(self, on_demand, state):
        never = make.session(SessionState.WAITING, delivered=False, failing_seconds=60.0)
        spec = StreamSpec(make.SPEC.upstreams, on_demand=on_demand, on_eof=OnEof.RECONNECT)
        thought = planned(make.run(State.LIVE, make.placement(), spec=spec), make.view(never))
        assert the_run(thought).stream.state is state

    @pytest.mark.parametrize(
        "session", [make.session(), make.session(SessionState.IDLE)], ids=["bytes", "nobody watches any more"]
    )
    def test_it_comes_back(self, session):
        thought = planned(make.run(State.STALLED, make.placement()), make.view(session))
        assert the_run(thought).stream.state is State.LIVE

    def test_it_does_not_come_back_before_a_byte_does(self):
        trying = make.session(SessionState.CONNECTING, delivered=True, failing_seconds=3.0)
        thought = planned(make.run(State.STALLED, make.placement()), make.view(trying))
        assert the_run(thought).stream.state is State.STALLED

    def test_nor_before_its_source_does(self):
        from controller.domain.lifecycle import Draft

        draft = Draft(make.run(State.STALLED, make.placement()), make.CAUSE, make.NOW)
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "LastWill")
        thought = planned(draft.run, make.view(make.session()))
        assert the_run(thought).stream.state is State.STALLED


class TestClocks:
    @pytest.mark.parametrize(
        ("own", "policy", "at", "state"),
        [
            pytest.param(None, None, 10**6, State.STALLED, id="off unless set"),
            pytest.param(30.0, None, 29, State.STALLED, id="announced, not yet over"),
            pytest.param(30.0, None, 30, State.ENDED, id="announced and over"),
            pytest.param(None, 30.0, 30, State.ENDED, id="set and over"),
            pytest.param(60.0, 30.0, 30, State.STALLED, id="what is announced wins"),
        ],
    )
    def test_stalled_for_long_is_ended(self, own, policy, at, state):
        limits = Policy(stall_timeout=None if policy is None else timedelta(seconds=policy))
        run = make.run(State.STALLED, make.placement(), stall_timeout_seconds=own)
        thought = planned(run, make.view(freshness=Freshness.STALE), at=at, policy=limits)
        assert the_run(thought).stream.state is state

    @pytest.mark.parametrize(("at", "state"), [(29, State.LIVE), (30, State.ENDED)])
    def test_what_was_announced_for_a_time_expires(self, at, state):
        run = make.run(State.LIVE, make.placement(), expires_at=make.later(30))
        thought = planned(run, make.view(make.session()), at=at)
        assert the_run(thought).stream.state is state
        assert the_run(thought).stream.reason is (Reason.EXPIRED if state is State.ENDED else None)

    def test_an_end_of_the_planners_own_is_told_once(self):
        run = make.run(State.LIVE, make.placement(), make.placement(STOPPING, generation=0), expires_at=make.NOW)
        thought = planned(run, make.view(make.session()))
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1), (CommandKind.STOP, make.P1, 0)]

    def test_a_stop_and_an_end_in_one_plan_are_told_once(self):
        over = make.session(SessionState.FINISHED, finished_reason="upstream_ended", generation=2)
        old = make.view(make.session(SessionState.FINISHED, generation=1), **ON_P2)
        run = make.run(State.LIVE, make.placement(STOPPING, **ON_P2), make.placement(generation=2), generation=2)
        thought = planned(run, make.view(over), old)
        assert sorted(commands(thought)) == [(CommandKind.STOP, make.P1, 2), (CommandKind.STOP, make.P2, 1)]

    @pytest.mark.parametrize("clock", [{"expires_at": make.NOW}, {"stall_timeout_seconds": 0.0}], ids=str)
    def test_an_end_is_not_confirmed_over_a_session_whose_placement_was_deleted(self, clock):
        run = make.run(State.STALLED, **clock, retry_at=make.later(60))
        thought = planned(run, make.view(make.session()))
        assert the_run(thought).stream.state is State.ENDED
        assert commands(thought) == [(CommandKind.STOP, make.P1, 1)]


class TestOrphans:
    def test_of_a_closed_run_is_stopped_at_once(self):
        closed = MappingProxyType({make.ID: make.stream(State.CLOSED)})
        thought = planned(make.view(make.session()), closed=closed)
        assert drifts(thought) == [(DriftKind.ORPHAN_ENDED, Verb.STOP)]
        (stop,) = thought.stops
        assert (stop.proxy_id, stop.boot_id, stop.stream_id, stop.key) == (make.P1, make.BOOT, make.ID, make.KEY)
        assert (stop.epoch, stop.generation) == (1, 1)

    def test_a_stop_on_its_way_is_not_sent_twice(self):
        closed = MappingProxyType({make.ID: make.stream(State.CLOSED)})
        thought = planned(make.view(make.session()), closed=closed, pending=frozenset({(make.ID, 1, make.P1)}))
        assert thought.stops == ()
        assert thought.actions[0].gate == "its stop is on the way"

    @pytest.mark.parametrize("state", [State.ENDED, State.LIVE], ids=str)
    def test_of_an_older_epoch_is_stopped(self, state):
        run = make.run(state, make.placement(STOPPING if state is State.ENDED else OBSERVED, **ON_P2), epoch=2)
        old = make.session(stream_id=STRANGER, epoch=1)
        thought = planned(run, make.view(old), make.view(make.session(epoch=2), **ON_P2))
        assert (DriftKind.ORPHAN_SUPERSEDED, Verb.STOP) in drifts(thought)

    def test_of_the_same_epoch_that_has_ended_is_stopped(self):
        run = make.run(State.ENDED, make.placement(STOPPING))
        thought = planned(run, make.view(make.session(), make.session(stream_id=STRANGER)))
        assert (DriftKind.ORPHAN_ENDED, Verb.STOP) in drifts(thought)

    @pytest.mark.parametrize("generation", [0, 1, 7], ids=["older", "the same", "newer"])
    def test_of_another_proxy_is_stopped_when_the_right_one_is_seen(self, generation):
        duplicate = make.view(make.session(generation=generation), **ON_P2)
        thought = planned(settled(), make.view(make.session()), duplicate)
        assert drifts(thought) == [(DriftKind.DUPLICATE_SESSION, Verb.STOP)]
        assert commands(thought) == [(CommandKind.STOP, make.P2, generation)]

    @pytest.mark.parametrize(
        "right",
        [make.view(), make.view(make.session(), freshness=Freshness.STALE)],
        ids=["not yet there", "not seen in this observation"],
    )
    def test_and_held_until_then(self, right):
        run = make.run(State.STARTING, make.placement(REQUESTED))
        duplicate = make.view(make.session(generation=0), **ON_P2)
        thought = planned(run, right, duplicate)
        assert drifts(thought) == [(DriftKind.DUPLICATE_SESSION, Verb.HOLD)]
        assert thought.actions[-1].gate == "its replacement has to be seen first"

    def test_a_generation_ahead_of_the_database_is_taken_over_in_place(self):
        thought = planned(settled(), make.view(make.session(generation=5)))
        assert drifts(thought)[0] == (DriftKind.GENERATION_AHEAD, Verb.CONFIRM_GONE)
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 6)]
        assert the_run(thought).stream.state is State.LIVE

    def test_newer_than_the_database_is_reported_only(self):
        newer = make.session(stream_id=STRANGER, epoch=9)
        thought = planned(settled(), make.view(make.session()), make.view(newer, **ON_P2))
        assert drifts(thought) == [(DriftKind.NEWER_THAN_DATABASE, Verb.HOLD)]
        assert thought.stops == ()

    def test_another_stream_of_the_same_key_and_epoch_is_taken_over(self):
        thought = planned(make.run(State.STARTING), make.view(make.session(stream_id=STRANGER, generation=3)), IDLE)
        assert commands(thought) == [(CommandKind.ENSURE, make.P1, 4)]
        assert (DriftKind.ORPHAN_UNKNOWN, Verb.HOLD) in drifts(thought)


class TestUnknownSessions:
    UNKNOWN = make.session(stream_id=STRANGER, key=Key("nobody-knows"))

    def remembered(self, looks: int, proxy_id: ProxyId = make.P1) -> dict:
        key = DriftKey(DriftKind.ORPHAN_UNKNOWN.value, proxy_id, STRANGER, 1)
        return {"drifts": MappingProxyType({key: DriftSeen(make.NOW, looks)})}

    @pytest.mark.parametrize(
        ("reading", "at", "verb"),
        [
            pytest.param({}, 0, Verb.HOLD, id="held at first sight"),
            pytest.param({"looks": 1}, 59, Verb.HOLD, id="held for its grace"),
            pytest.param({"looks": 0}, 61, Verb.HOLD, id="held for its second look"),
            pytest.param({"looks": 1}, 60, Verb.STOP, id="stopped after both"),
            pytest.param({"looks": 9, "proxy_id": make.P2}, 99, Verb.HOLD, id="a sighting elsewhere counts elsewhere"),
        ],
    )
    def test_what_the_database_does_not_know_at_all(self, reading, at, verb):
        memory = self.remembered(**reading) if reading else {}
        thought = planned(make.view(self.UNKNOWN), at=at, **memory)
        assert drifts(thought) == [(DriftKind.ORPHAN_UNKNOWN, verb)]
        assert bool(thought.stops) is (verb is Verb.STOP)
        assert bool(thought.actions[0].gate) is (verb is Verb.HOLD)

    @pytest.mark.parametrize(
        ("heard", "verb"),
        [
            pytest.param(0, Verb.HOLD, id="held while sources cannot be heard"),
            pytest.param(59, Verb.HOLD, id="held for a grace in which they are"),
            pytest.param(60, Verb.STOP, id="stopped once they could have claimed it"),
        ],
    )
    def test_only_time_in_which_sources_are_heard_is_evidence(self, heard, verb):
        standing = Standing(heard=timedelta(seconds=heard))
        thought = planned(make.view(self.UNKNOWN), at=9999, standing=standing, **self.remembered(9))
        assert drifts(thought) == [(DriftKind.ORPHAN_UNKNOWN, verb)]

    def test_a_second_stream_of_a_key_that_runs_elsewhere_has_the_same_grace(self):
        twin = make.view(make.session(stream_id=STRANGER), **ON_P2)
        held = planned(settled(), make.view(make.session()), twin)
        assert drifts(held) == [(DriftKind.ORPHAN_UNKNOWN, Verb.HOLD)]
        memory = self.remembered(1, make.P2)
        stopped = planned(settled(), make.view(make.session()), twin, at=60, **memory)
        assert [c.stream_id for c in stopped.stops] == [STRANGER]

    def test_an_unreachable_proxy_has_no_orphans(self):
        thought = planned(make.view(self.UNKNOWN, freshness=Freshness.LOST), at=99, **self.remembered(9))
        assert (thought.actions, thought.is_empty) == ((), True)

    def test_outside_the_keys_that_were_read_nothing_is_concluded(self):
        thought = planned(make.view(self.UNKNOWN), at=99, keys=frozenset({make.KEY}), **self.remembered(9))
        assert (thought.actions, thought.is_empty) == ((), True)


def test_a_command_that_waits_for_one_proxy_holds_nothing_back_at_another():
    run = make.run(State.ENDED, make.placement(STOPPING, **ON_P2))
    waiting = frozenset({(make.ID, 1, make.P1)})
    thought = planned(run, make.view(make.session(), **ON_P2), at=99, pending=waiting)
    assert commands(thought) == [(CommandKind.STOP, make.P2, 1)]
