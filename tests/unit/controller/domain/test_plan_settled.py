"""What is called settled: the common case, and nothing that differs from it in any one respect.

That settled runs are planned without an action or a change is a law: see ``test_plan_laws``.
"""

from dataclasses import replace

import pytest

from controller.domain.budgets import Budgets, Limits, Purse
from controller.domain.controls import MODE, Control, Controls, Mode, Scope
from controller.domain.model import BootId, Condition, ConditionStatus, ConditionType, PlacementState, State
from controller.domain.observation import Desired, Freshness, Observed, SessionState
from controller.domain.plan import NEWCOMER, Policy, Standing, plan
from controller.domain.plan.held_ends import HeldEnds
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.scene import Scene
from controller.domain.plan.settled import Settled
from controller.domain.plan.warden import Warden
from tests.fakes import domain_values as make

PLACED = Condition(ConditionType.PLACED, ConditionStatus.TRUE, "Observed", f"on proxy {make.P1}", make.NOW, 1)
IDLE = Condition(ConditionType.FLOWING, ConditionStatus.UNKNOWN, "Idle", "nobody watches", make.NOW, 1)
FLOWING = Condition(ConditionType.FLOWING, ConditionStatus.TRUE, "Flowing", "", make.NOW, 1)
OTHER = Condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Online", "", make.NOW, 1)
SESSION = make.session(SessionState.IDLE)
RUN = make.run(State.LIVE, make.placement(), conditions=(IDLE, PLACED))
FLOWING_RUN = make.run(State.LIVE, make.placement(), conditions=(FLOWING, PLACED, OTHER))


def is_settled(run, at: Scene) -> bool:
    found = Settled(at)
    assert (run.stream.key in found.keys) == (run not in found.others)
    return run.stream.key in found.keys


def settled(run=RUN, *sessions, policy=None, **view) -> bool:
    return is_settled(run, scene(make.view(*(sessions or (SESSION,)), **view), run=run, policy=policy))


def scene(*views, run=RUN, policy=None, controls=()) -> Scene:
    fleet = Fleet(Observed(views), None)
    purse = Purse(Budgets(), Limits(), make.NOW, is_braked=False)
    warden, desired = Warden(Controls(controls), NEWCOMER, purse), Desired((run,), controls=Controls(controls))
    return Scene(desired, fleet, policy or Policy(), make.NOW, warden, HeldEnds(desired, None))


def of_stream(**fields):
    return replace(RUN, stream=replace(RUN.stream, **fields))


def of_placement(**fields):
    return replace(RUN, placements=(replace(RUN.placements[0], **fields),))


def test_live_where_it_is_wished_and_described_so():
    assert settled()
    assert settled(FLOWING_RUN, make.session(SessionState.FLOWING))
    assert settled(of_stream(expires_at=make.later(1)))


def test_the_fingerprint_has_to_fit():
    session = replace(SESSION, spec_digest="right")
    assert settled(RUN, session, policy=Policy(fingerprint=lambda _key, _spec: "right"))
    assert not settled(RUN, session, policy=Policy(fingerprint=lambda _key, _spec: "wrong"))


def test_a_control_of_its_key_has_to_be_described():
    def observing(scope: Scope, subject: str) -> Control:
        return Control(scope, subject, MODE, Mode.OBSERVE, "operator:test", "", make.NOW)

    assert is_settled(RUN, scene(make.view(SESSION), controls=[observing(Scope.GLOBAL, "")]))
    assert not is_settled(RUN, scene(make.view(SESSION), controls=[observing(Scope.STREAM, RUN.stream.key)]))


CONDITIONS_AMISS = {
    "a pause is described": (IDLE, PLACED, replace(PLACED, type=ConditionType.PAUSED)),
    "nothing is described": (),
    "its place is not described": (IDLE,),
    "its flow is not described": (PLACED,),
    "its flow is described wrongly": (FLOWING, PLACED),
    "an older spec is described": (IDLE, replace(PLACED, observed_generation=0)),
    "an older flow is described": (replace(IDLE, observed_generation=0), PLACED),
    "another place is described": (IDLE, replace(PLACED, message="on proxy p9")),
}
RUNS_AMISS = {
    **{why: of_stream(conditions=found) for why, found in CONDITIONS_AMISS.items()},
    "it has failed before": of_stream(failures=1),
    "it has expired": of_stream(expires_at=make.NOW),
    "its spec is newer": of_stream(spec_generation=2),
    "its generation is newer": of_stream(generation=2),
    "its epoch is newer": of_stream(epoch=9),
    "it is stalled": of_stream(state=State.STALLED),
    "it has no placement": replace(RUN, placements=()),
    "it has two placements": replace(RUN, placements=(*RUN.placements, make.placement(generation=2))),
    "its placement is not seen yet": of_placement(state=PlacementState.REQUESTED),
    "its placement is of another process": of_placement(boot_id=BootId("before")),
    "its placement is elsewhere": of_placement(proxy_id=make.P2),
}
SESSIONS_AMISS = {
    "it stalls": replace(SESSION, state=SessionState.STALLED),
    "it says why it is idle": replace(SESSION, detail="refused"),
    "it has finished": replace(SESSION, state=SessionState.FINISHED),
    "it is another stream's": replace(SESSION, stream_id="stranger"),
    "it is of another generation": replace(SESSION, generation=9),
}


@pytest.mark.parametrize("run", RUNS_AMISS.values(), ids=RUNS_AMISS)
def test_anything_amiss_with_the_run(run):
    assert not settled(run)


@pytest.mark.parametrize("session", SESSIONS_AMISS.values(), ids=SESSIONS_AMISS)
def test_anything_amiss_with_the_session(session):
    assert not settled(RUN, session)


def test_two_sessions_of_a_key_or_none():
    assert not is_settled(RUN, scene(make.view(SESSION), make.view(SESSION, proxy_id=make.P2)))
    assert not is_settled(RUN, scene(make.view()))


# What was compared before

COMPARED: list[str] = []


def counting(_key: str, spec: object) -> str:
    COMPARED.append("once")
    return "right"


WATCHFUL = Policy(fingerprint=counting)
MARKED = replace(SESSION, spec_digest="right")


def compared(
    desired: Desired, *views, policy: Policy = WATCHFUL, standing: Standing = NEWCOMER
) -> tuple[int, Standing]:
    """How often a plan compares a run with its session, and what it leaves to the next."""
    COMPARED.clear()
    planned = plan(desired, Observed(views), policy, make.NOW, standing)
    assert planned.is_empty
    return len(COMPARED), planned.standing


def test_the_same_values_are_compared_once():
    times, standing = compared(Desired((RUN,)), make.view(MARKED))
    assert times == 1
    assert compared(Desired((RUN,)), make.view(MARKED, sequence=99, viewers=3), standing=standing)[0] == 0


ANEW = {
    "the run was read anew": (replace(RUN), MARKED, WATCHFUL),
    "the session was read anew": (RUN, replace(MARKED), WATCHFUL),
    "another policy": (RUN, MARKED, replace(WATCHFUL)),
}


@pytest.mark.parametrize("case", ANEW)
def test_other_values_are_compared_even_if_they_are_equal(case):
    run, session, policy = ANEW[case]
    _, standing = compared(Desired((RUN,)), make.view(MARKED))
    assert compared(Desired((run,)), make.view(session), policy=policy, standing=standing)[0] == 1


def test_a_look_at_single_keys_does_not_forget_the_others():
    _, standing = compared(Desired((RUN,)), make.view(MARKED))
    _, standing = compared(Desired((), keys=frozenset({make.KEY})), standing=standing)
    assert compared(Desired((RUN,)), make.view(MARKED), standing=standing)[0] == 0


AROUND = {
    "its proxy has restarted": (make.view(MARKED, boot_id=BootId("another")),),
    "its proxy drains": (make.view(MARKED, is_draining=True), make.view(proxy_id=make.P2, url="http://p2:8081")),
    "it runs twice": (make.view(MARKED), make.view(MARKED, proxy_id=make.P2, url="http://p2:8081")),
    "it is not listed": (make.view(),),
    "its proxy is silent": (make.view(MARKED, freshness=Freshness.STALE),),
}


@pytest.mark.parametrize("case", AROUND)
def test_what_was_compared_says_nothing_of_what_is_around(case):
    _, standing = compared(Desired((RUN,)), make.view(MARKED))
    remembering = plan(Desired((RUN,)), Observed(AROUND[case]), WATCHFUL, make.NOW, standing)
    forgetting = plan(Desired((RUN,)), Observed(AROUND[case]), WATCHFUL, make.NOW)
    assert remembering.actions == forgetting.actions
    assert remembering.changes == forgetting.changes
    assert remembering.actions or remembering.changes


def test_another_session_of_its_proxy_disturbs_nothing():
    idle = replace(SESSION, stream_id="other", key="cam-8")
    _, standing = compared(Desired((RUN,)), make.view(MARKED))
    plan(Desired((RUN,)), Observed((make.view(MARKED, idle),)), WATCHFUL, make.NOW, standing)
    assert COMPARED == ["once"], "by the first of the two plans"


def test_it_expires_and_is_held_back_although_nothing_else_has_changed():
    run, view = of_stream(expires_at=make.later(5)), make.view(MARKED)
    desired = Desired((run,))
    _, standing = compared(desired, view)
    again = plan(desired, Observed((view,)), WATCHFUL, make.later(4), standing)
    assert again.is_empty
    ended = plan(desired, Observed((view,)), WATCHFUL, make.later(5), again.standing)
    assert [change.run.stream.state for change in ended.changes] == [State.ENDED]
    control = Control(Scope.STREAM, run.stream.key, MODE, Mode.OBSERVE, "operator:test", "", make.NOW)
    held = plan(replace(desired, controls=Controls([control])), Observed((view,)), WATCHFUL, make.NOW, standing)
    [change] = held.changes
    assert change.run.stream.condition(ConditionType.PAUSED) is not None
    released = plan(Desired((change.run,)), Observed((view,)), WATCHFUL, make.NOW, held.standing)
    assert released.changes[0].run.stream.condition(ConditionType.PAUSED) is None
