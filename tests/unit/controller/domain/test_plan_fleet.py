"""Where streams go, and how they leave: capacity, rendezvous, drains, and proxies that an operator says are gone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.controls import DECOMMISSION, DRAIN, Control, Controls, Scope
from controller.domain.model import BootId, CommandKind, Key, PlacementState, ProxyId, Run, State, StreamId
from controller.domain.observation import Desired, Freshness, Observed, ProxyView, Session
from controller.domain.plan import Plan, Policy, Verb, plan
from tests.fakes import domain_values as make

STOPPING = PlacementState.STOPPING


def control(name: str, proxy_id: str) -> Control:
    return Control(Scope.PROXY, proxy_id, name, "", "bob", "", make.NOW)


def drained(*proxy_ids: str) -> Controls:
    return Controls(control(DRAIN, proxy_id) for proxy_id in proxy_ids)


def gone(*proxy_ids: str) -> Controls:
    return Controls(control(DECOMMISSION, proxy_id) for proxy_id in proxy_ids)


def proxy(number: int, *sessions: Session, **fields: object) -> ProxyView:
    return make.view(*sessions, proxy_id=ProxyId(f"p{number}"), boot_id=BootId(f"boot-{number}"), **fields)


def new(number: int) -> Run:
    return make.run(State.PENDING, id=StreamId(f"s{number}"), key=Key(f"k{number}"))


def playing(number: int, on: int = 1) -> tuple[Run, Session]:
    """A run that is LIVE on a proxy, and its session."""
    names = {"stream_id": StreamId(f"s{number}")}
    placement = make.placement(proxy_id=ProxyId(f"p{on}"), boot_id=BootId(f"boot-{on}"), **names)
    run = make.run(State.LIVE, placement, id=names["stream_id"], key=Key(f"k{number}"))
    return run, make.session(key=Key(f"k{number}"), **names)


def planned(runs: list[Run], views: list[ProxyView], controls: Controls, **policy: object) -> Plan:
    return plan(Desired(tuple(runs), controls=controls), Observed(tuple(views)), Policy(**policy), make.NOW)


def started(thought: Plan) -> dict[str, str]:
    """Return where each stream is asked for."""
    found = [command for change in thought.changes for command in change.commands]
    return {c.stream_id: c.proxy_id for c in found if c.kind is CommandKind.ENSURE}


def placements(thought: Plan, stream_id: str) -> list[tuple[str, str]]:
    run = next(change.run for change in thought.changes if change.run.stream.id == stream_id)
    return sorted((p.proxy_id, p.state.value) for p in run.placements)


class TestChoosing:
    def test_a_full_proxy_takes_nothing(self):
        full = proxy(1, *(playing(n)[1] for n in range(100, 103)), sessions_max=3)
        assert started(planned([new(1)], [full, proxy(2, sessions_max=3)], Controls())) == {"s1": "p2"}
        assert started(planned([new(1)], [full], Controls())) == {}

    def test_a_plan_fills_nobody_beyond_what_it_takes(self):
        runs = [new(n) for n in range(10)]
        places = started(planned(runs, [proxy(1, sessions_max=3), proxy(2, sessions_max=5)], Controls()))
        counts = [list(places.values()).count(name) for name in ("p1", "p2")]
        assert counts == [3, 5]

    def test_a_larger_proxy_takes_more(self):
        runs = [new(n) for n in range(90)]
        places = list(
            started(planned(runs, [proxy(1, sessions_max=100), proxy(2, sessions_max=200)], Controls())).values()
        )
        assert 25 <= places.count("p1") <= 35

    @given(st.sets(st.integers(0, 10_000), min_size=1, max_size=40), st.integers(1, 4))
    def test_equally_empty_proxies_keep_their_keys_when_another_comes(self, numbers: set[int], count: int):
        """Rendezvous: whatever does not go to the new proxy goes where it would have gone without it."""
        for number in numbers:
            before = started(planned([new(number)], [proxy(n, sessions_max=1000) for n in range(count)], Controls()))
            after = started(planned([new(number)], [proxy(n, sessions_max=1000) for n in range(count + 1)], Controls()))
            assert after == before or set(after.values()) == {f"p{count}"}

    def test_a_proxy_that_comes_moves_nothing_that_runs(self):
        pairs = [playing(n) for n in range(20)]
        first = planned([run for run, _ in pairs], [proxy(1, *(s for _, s in pairs), sessions_max=20)], Controls())
        runs = [change.run for change in first.changes] or [run for run, _ in pairs]
        views = [proxy(1, *(s for _, s in pairs), sessions_max=20), proxy(2, sessions_max=20)]
        assert started(planned(runs, views, Controls())) == {}


class TestDraining:
    def test_it_takes_nothing_new(self):
        assert started(planned([new(1)], [proxy(1), proxy(2)], drained("p1"))) == {"s1": "p2"}
        assert started(planned([new(1)], [proxy(1)], drained("p1"))) == {}

    def test_what_it_runs_is_asked_for_elsewhere_first_and_stopped_when_it_was_seen_there(self):
        run, session = playing(1)
        first = planned([run], [proxy(1, session), proxy(2)], drained("p1"))
        assert started(first) == {"s1": "p2"}
        assert placements(first, "s1") == [("p1", "stopping"), ("p2", "requested")]
        assert [c.kind for change in first.changes for c in change.commands] == [CommandKind.ENSURE], (
            "nothing is stopped"
        )
        assert {action.verb for action in first.actions} >= {Verb.MOVE, Verb.PLACE}

        moved = first.changes[0].run
        waiting = planned([moved], [proxy(1, session), proxy(2)], drained("p1"))
        assert not [c for change in waiting.changes for c in change.commands if c.kind is CommandKind.STOP]

        there = replace(session, generation=moved.stream.generation)
        last = plan(
            Desired((moved,), controls=drained("p1")),
            Observed((proxy(1, session), proxy(2, there))),
            Policy(),
            make.NOW,
        )
        stops = [c for change in last.changes for c in change.commands if c.kind is CommandKind.STOP]
        assert [(c.proxy_id, c.generation) for c in stops] == [("p1", session.generation)]
        assert last.changes[0].run.stream.state is State.LIVE

    def test_a_few_leave_at_a_time(self):
        pairs = [playing(n) for n in range(10)]
        views = [proxy(1, *(session for _, session in pairs)), proxy(2)]
        first = planned([run for run, _ in pairs], views, drained("p1"), drain_moves_max=3)
        assert len(started(first)) == 3
        changed = {change.run.stream.id: change.run for change in first.changes}
        runs = [changed.get(run.stream.id, run) for run, _ in pairs]
        assert started(planned(runs, views, drained("p1"), drain_moves_max=3)) == {}, "these have not arrived yet"

    def test_without_another_proxy_everything_stays(self):
        run, session = playing(1)
        for other in ([], [proxy(2, freshness=Freshness.STALE)], [proxy(2, is_draining=True)]):
            thought = planned([run], [proxy(1, session), *other], drained("p1"))
            assert started(thought) == {}
            assert Verb.MOVE not in {action.verb for action in thought.actions}

    def test_a_look_at_single_keys_moves_nothing(self):
        run, session = playing(1)
        desired = Desired((run,), keys=frozenset({run.stream.key}), controls=drained("p1"))
        assert started(plan(desired, Observed((proxy(1, session), proxy(2))), Policy(), make.NOW)) == {}

    def test_a_proxy_that_says_itself_that_it_drains_is_left_too(self):
        run, session = playing(1)
        assert started(planned([run], [proxy(1, session, is_draining=True), proxy(2)], Controls())) == {"s1": "p2"}


class TestDecommissioning:
    @pytest.mark.parametrize("freshness", [Freshness.STALE, Freshness.LOST, Freshness.NEVER])
    def test_what_it_ran_is_gone_while_it_does_not_answer(self, freshness: Freshness):
        run, session = playing(1)
        views = [proxy(1, session, freshness=freshness, error="no answer"), proxy(2)]
        thought = planned([run], views, gone("p1"))
        assert started(thought) == {"s1": "p2"}
        assert [p for p in placements(thought, "s1") if p[0] == "p1" and p[1] != "gone"] == []

    def test_an_ended_run_that_waited_for_it_is_closed(self):
        run, session = playing(1)
        ended = make.run(
            State.ENDED,
            replace(run.placements[0], state=STOPPING, stopping_at=make.NOW),
            id=run.stream.id,
            key=run.stream.key,
        )
        views = [proxy(1, session, freshness=Freshness.LOST, error="no answer"), proxy(2)]
        assert not [c for c in planned([ended], views, Controls()).changes if c.run.stream.state is State.CLOSED]
        [change] = planned([ended], views, gone("p1")).changes
        assert change.run.stream.state is State.CLOSED

    def test_one_that_answers_all_the_same_is_drained_and_not_believed_gone(self):
        run, session = playing(1)
        thought = planned([run], [proxy(1, session), proxy(2)], gone("p1"))
        assert placements(thought, "s1") == [("p1", "stopping"), ("p2", "requested")]
