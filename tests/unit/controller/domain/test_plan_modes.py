"""What operators forbid is not done, is said, and is done when they allow it again; and what a newcomer may not do."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.domain.controls import MODE, PAUSE, Control, Controls, Mode, Scope
from controller.domain.model import BootId, CommandKind, ConditionType, Key, PlacementState, Run, State, StreamId
from controller.domain.observation import Desired, DriftKey, DriftSeen, Freshness, Observed, ProxyView, SessionState
from controller.domain.plan import DriftKind, GateKind, Plan, Policy, Standing, Verb, plan
from controller.domain.plan.taxonomy import DriftClass
from tests.fakes import domain_values as make
from tests.unit.controller.domain import test_plan_laws as laws
from tests.unit.controller.domain.test_plan_taxonomy import CASES

STOPPING, REQUESTED = PlacementState.STOPPING, PlacementState.REQUESTED
ON_P2 = {"proxy_id": make.P2, "boot_id": BootId("boot-2")}


def mode(value: Mode, scope: Scope = Scope.GLOBAL, subject: str = "") -> Control:
    return Control(scope, subject, MODE, value.value, "bob", "", make.NOW)


def pause(scope: Scope = Scope.GLOBAL, subject: str = "") -> Control:
    return Control(scope, subject, PAUSE, "", "eve", "", make.NOW, make.later(600))


def planned(
    runs: tuple[Run, ...], views: tuple[ProxyView, ...], *controls: Control, at: float = 0, **more: Any
) -> Plan:
    desired = Desired(runs, controls=Controls(controls), **more)
    return plan(desired, Observed(views), Policy(), make.later(at))


def commands(thought: Plan) -> list[tuple[CommandKind, str, int]]:
    found = [c for change in thought.changes for c in change.commands] + list(thought.stops)
    return [(c.kind, c.proxy_id, c.generation) for c in found]


def gates(thought: Plan) -> set[GateKind | None]:
    return {action.gate_kind for action in thought.actions if action.verb is Verb.HOLD}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.expected}")
@pytest.mark.parametrize("value", list(Mode), ids=str)
def test_a_mode_lets_a_drift_be_repaired_or_names_itself(case, value):
    held = replace(case, more=case.more | {"controls": Controls([mode(value)])})
    drift_class = case.kind.drift_class
    allowed = value is Mode.ENFORCE or (value is Mode.ADDITIVE_ONLY and not drift_class.is_destructive)
    if isinstance(case.expected, GateKind) or case.kind is DriftKind.STATE_NOT_OBSERVED or allowed:
        expected = case.expected
    else:
        expected = GateKind.CONTROL
    [action] = held.found()
    assert (action.gate_kind or action.verb) == expected
    if expected is GateKind.CONTROL:
        assert action.gate == f"the end of mode {value} of everything, set by bob"
    told = {c.kind for change in held.plan().changes for c in change.commands} | {c.kind for c in held.plan().stops}
    if value is Mode.OBSERVE:
        assert told == set()
    elif value is Mode.ADDITIVE_ONLY:
        assert CommandKind.STOP not in told


class TestObserving:
    @pytest.mark.parametrize(
        ("control", "holds"),
        [
            pytest.param(mode(Mode.OBSERVE), True, id="everything"),
            pytest.param(pause(Scope.STREAM, "cam-7"), True, id="its key"),
            pytest.param(pause(Scope.STREAM, "other"), False, id="another key"),
        ],
    )
    def test_a_new_run_is_not_placed(self, control, holds):
        thought = planned((make.run(State.PENDING),), (make.view(),), control)
        assert bool(commands(thought)) is not holds
        if holds:
            [change] = thought.changes
            assert change.run.stream.condition(ConditionType.PLACED).reason == "Held"

    def test_a_paused_proxy_is_left_alone_and_the_others_are_used(self):
        thought = planned((make.run(State.PENDING),), (make.view(), make.view(**ON_P2)), pause(Scope.PROXY, make.P1))
        assert commands(thought) == [(CommandKind.ENSURE, make.P2, 2)]

    def test_nothing_is_moved_to_a_paused_proxy(self):
        lost = make.view(make.session(), freshness=Freshness.LOST)
        run = make.run(State.LIVE, make.placement())
        assert commands(planned((run,), (lost, make.view(**ON_P2)), pause(Scope.PROXY, make.P2))) == []

    def test_what_is_seen_is_written_down_all_the_same(self):
        run = make.run(State.STARTING, make.placement(REQUESTED))
        thought = planned((run,), (make.view(make.session()),), mode(Mode.OBSERVE))
        assert thought.changes[0].run.stream.state is State.LIVE
        missing = planned((make.run(State.LIVE, make.placement()),), (make.view(),), mode(Mode.OBSERVE))
        assert missing.changes[0].run.stream.state is State.STARTING
        assert [p.state for p in missing.changes[0].run.placements] == [PlacementState.OBSERVED]

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param(make.run(State.LIVE, make.placement(), expires_at=make.NOW), id="expired"),
            pytest.param(make.run(State.STALLED, make.placement(), stall_timeout_seconds=0.0), id="stalled for long"),
        ],
    )
    @pytest.mark.parametrize("value", [Mode.OBSERVE, Mode.ADDITIVE_ONLY], ids=str)
    def test_no_clock_of_ours_ends_anything(self, run, value):
        silent = make.view(make.session(SessionState.STALLED, delivered=True, failing_seconds=99.0))
        assert commands(planned((run,), (silent,), mode(value))) == []
        assert gates(planned((run,), (silent,), mode(value))) == {GateKind.CONTROL}
        assert commands(planned((run,), (silent,), mode(Mode.ENFORCE))) == [(CommandKind.STOP, make.P1, 1)]

    def test_a_session_that_is_over_waits(self):
        over = make.view(make.session(SessionState.FINISHED, finished_reason="upstream_ended"))
        run = make.run(State.LIVE, make.placement())
        assert commands(planned((run,), (over,), mode(Mode.ADDITIVE_ONLY))) == []
        assert commands(planned((run,), (over,))) == [(CommandKind.STOP, make.P1, 1)]


class TestAddingOnly:
    def test_a_failed_session_is_replaced_without_a_stop(self):
        failed = make.view(make.session(SessionState.FINISHED, finished_reason="failed"))
        first = planned((make.run(State.LIVE, make.placement()),), (failed,), mode(Mode.ADDITIVE_ONLY))
        assert commands(first) == []
        second = planned((first.changes[0].run,), (failed,), mode(Mode.ADDITIVE_ONLY), at=1)
        assert commands(second) == [(CommandKind.ENSURE, make.P1, 2)]

    def test_what_was_moved_keeps_its_old_session(self):
        moved = make.run(
            State.LIVE, make.placement(STOPPING), make.placement(generation=2, **ON_P2), generation=2
        )  # fmt: skip
        views = (make.view(make.session()), make.view(make.session(generation=2), **ON_P2))
        assert commands(planned((moved,), views, mode(Mode.ADDITIVE_ONLY))) == []
        assert commands(planned((moved,), views)) == [(CommandKind.STOP, make.P1, 1)]


class TestPausedCondition:
    def paused(self, thought: Plan) -> str | None:
        condition = thought.changes[0].run.stream.condition(ConditionType.PAUSED)
        return None if condition is None else condition.message

    def test_it_is_set_on_the_key_that_an_operator_named(self):
        run = make.run(State.LIVE, make.placement())
        thought = planned((run,), (make.view(make.session()),), pause(Scope.STREAM, "cam-7"))
        assert self.paused(thought) == "by a pause of key cam-7, set by eve until 2026-03-01 12:10:00 UTC"

    def test_else_only_where_something_is_held(self):
        plays = make.run(State.LIVE, make.placement())
        assert self.paused(planned((plays,), (make.view(make.session()),), pause())) is None
        held = planned((plays,), (make.view(),), pause())
        assert self.paused(held) == "until the end of a pause of everything, set by eve until 2026-03-01 12:10:00 UTC"

    def test_it_goes_with_the_control(self):
        run = planned((make.run(State.PENDING),), (make.view(),), pause()).changes[0].run
        assert self.paused(planned((run,), (make.view(),))) is None


class TestStartup:
    """A newcomer stops nothing on its own account; what has ended is told again."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.expected}")
    def test_what_would_be_stopped_is_held(self, case):
        thought = plan(
            Desired(case.runs, **case.more),
            Observed(case.views),
            case.policy,
            make.later(case.at),
            Standing(startup="a list of every proxy"),
        )
        [action] = [a for a in thought.actions if a.drift is not None and a.drift.kind is case.kind]
        is_kill = case.kind.drift_class in (DriftClass.EVIDENCED, DriftClass.UNEVIDENCED)
        if is_kill and case.kind is not DriftKind.STUCK_STOPPING and not isinstance(case.expected, GateKind):
            assert (action.gate_kind, action.gate) == (GateKind.STARTUP, "a list of every proxy")
            assert commands(thought) == []
        else:
            assert (action.gate_kind or action.verb) == case.expected


# In any world

CONTROLS = st.lists(
    st.builds(
        Control,
        scope=st.sampled_from(Scope),
        subject=st.sampled_from(["", *laws.KEYS, *laws.PROXIES]),
        name=st.just(MODE),
        value=st.sampled_from([m.value for m in Mode]),
        owner=st.just("bob"),
        why=st.just(""),
        set_at=st.just(make.NOW),
    ),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(runs=laws.STRANGE_RUNS, views=st.lists(laws.STRANGE_VIEWS, max_size=3), controls=CONTROLS)
def test_a_command_is_one_that_its_mode_allows(runs, views, controls):
    found = tuple(run for run in runs if run is not None)
    limits = Controls(controls)
    seen = {
        (DriftKey(DriftKind.ORPHAN_UNKNOWN, v.proxy_id, s.stream_id, s.generation)) for v in views for s in v.sessions
    }
    drifts = MappingProxyType({key: DriftSeen(make.later(-999), 9) for key in seen})
    thought = plan(
        Desired(found, controls=limits, drifts=drifts), Observed(tuple(views)), Policy(), make.NOW
    )  # fmt: skip
    for command in [c for change in thought.changes for c in change.commands] + list(thought.stops):
        allowed, _ = limits.limit(command.key, command.proxy_id)
        ends_run = limits.limit(command.key)[0] is Mode.ENFORCE and command.kind is CommandKind.STOP
        if command.kind is CommandKind.ENSURE:
            assert allowed is not Mode.OBSERVE
        else:
            assert allowed is Mode.ENFORCE or ends_run


STRANGER = StreamId("stranger")


def test_an_orphan_of_a_paused_key_stays():
    other = make.session(stream_id=STRANGER, key=Key("ghost"))
    known = {"closed": MappingProxyType({STRANGER: make.stream(State.CLOSED, id=STRANGER, key=Key("ghost"))})}
    held = planned((), (make.view(other),), pause(Scope.STREAM, "ghost"), **known)
    assert (commands(held), gates(held)) == ([], {GateKind.CONTROL})
    assert commands(planned((), (make.view(other),), **known)) == [(CommandKind.STOP, make.P1, 1)]
