"""The machine against its table, pair by pair, and the effects of its hooks."""

from itertools import product

import pytest

from controller.domain import machine
from controller.domain.machine import (
    ENDING_EVENTS,
    TRANSITIONS,
    CommandQueued,
    EndConfirmed,
    EndDecided,
    Event,
    Facts,
    Moved,
    PlacementStopping,
)
from controller.domain.model import CommandKind, PlacementState, Reason, State
from controller.errors import EventRefusedError
from tests.fakes import domain_values as make

PAIRS = list(product(State, Event))
FACTS = [Facts(*values) for values in product((False, True), repeat=3)]
ENDS = [Event.END, Event.STOP, Event.SUPERSEDED, Event.EXPIRED]

# The table of the design, written out once more. A tuple is (target, what makes it so), the first that holds wins.
ALWAYS = None
S = State
EXPECTED = {
    (S.PENDING, Event.PLACED): [(S.STARTING, ALWAYS)],
    (S.STARTING, Event.PLACED): [(S.STARTING, ALWAYS)],
    (S.LIVE, Event.PLACED): [(S.LIVE, ALWAYS)],
    (S.STALLED, Event.PLACED): [(S.STALLED, ALWAYS)],
    (S.STARTING, Event.SESSION_OBSERVED): [(S.LIVE, ALWAYS)],
    (S.LIVE, Event.SESSION_OBSERVED): [(S.LIVE, ALWAYS)],
    (S.STALLED, Event.SESSION_OBSERVED): [(S.STALLED, "source_is_lost"), (S.LIVE, ALWAYS)],
    (S.STARTING, Event.SESSION_MISSING): [(S.STARTING, ALWAYS)],
    (S.LIVE, Event.SESSION_MISSING): [(S.STARTING, ALWAYS)],
    (S.STALLED, Event.SESSION_MISSING): [(S.STALLED, ALWAYS)],
    **{(S.PENDING, e): [(S.PENDING, ALWAYS)] for e in (Event.SOURCE_LOST, Event.FLOW_LOST)},
    **{
        (state, e): [(S.STALLED, ALWAYS)]
        for state in (S.STARTING, S.LIVE, S.STALLED)
        for e in (Event.SOURCE_LOST, Event.FLOW_LOST)
    },
    **{
        (state, e): [(state, ALWAYS)]
        for state in (S.PENDING, S.STARTING, S.LIVE)
        for e in (Event.SOURCE_BACK, Event.FLOW_BACK)
    },
    (S.STALLED, Event.SOURCE_BACK): [(S.LIVE, "session_is_observed"), (S.STARTING, ALWAYS)],
    (S.STALLED, Event.FLOW_BACK): [
        (S.STALLED, "source_is_lost"),
        (S.LIVE, "session_is_observed"),
        (S.STARTING, ALWAYS),
    ],
    (S.STARTING, Event.SESSION_FINISHED): [(S.ENDED, "finish_is_final"), (S.STARTING, ALWAYS)],
    (S.LIVE, Event.SESSION_FINISHED): [(S.ENDED, "finish_is_final"), (S.STARTING, ALWAYS)],
    (S.STALLED, Event.SESSION_FINISHED): [(S.ENDED, "finish_is_final"), (S.STALLED, ALWAYS)],
    **{(state, e): [(S.ENDED, ALWAYS)] for state in (S.PENDING, S.STARTING, S.LIVE, S.STALLED) for e in ENDS},
    **{(state, Event.LOOP_DETECTED): [(S.ENDED, ALWAYS)] for state in (S.STARTING, S.LIVE, S.STALLED)},
    (S.STALLED, Event.STALL_TIMEOUT): [(S.ENDED, ALWAYS)],
    (S.ENDED, Event.ALL_GONE): [(S.CLOSED, ALWAYS)],
}


def in_state(state: State, *placements):
    """A run in that state whose one placement keeps ENDED from becoming CLOSED at once."""
    return make.run(state, *(placements or (make.placement(),)))


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{s.value} on {e.value}" for s, e in PAIRS])
def test_every_pair_is_in_the_table_and_accepted_or_missing_and_refused(state, event):
    expected = EXPECTED.get((state, event))
    assert machine.is_allowed(state, event) is (expected is not None)
    if expected is not None:
        assert TRANSITIONS[state, event] == tuple(target for target, _ in expected)
        assert machine.advance(in_state(state), event, Facts())[0] in TRANSITIONS[state, event]
        return
    with pytest.raises(EventRefusedError) as refused:
        machine.advance(in_state(state), event, Facts())
    assert (refused.value.state, refused.value.event) == (state.value, event.value)


@pytest.mark.parametrize("facts", FACTS, ids=str)
@pytest.mark.parametrize("move", EXPECTED, ids=lambda move: f"{move[0].value} on {move[1].value}")
def test_the_first_guard_that_holds_decides_where_it_leads(move, facts):
    wanted = next(target for target, guard in EXPECTED[move] if guard is ALWAYS or getattr(facts, guard))
    reached, effects = machine.advance(in_state(move[0]), move[1], facts)
    assert reached is wanted
    moves = [effect for effect in effects if isinstance(effect, Moved)]
    assert moves == ([Moved(move[0], wanted)] if wanted is not move[0] else [])


def test_a_run_that_is_over_refuses_everything_but_being_confirmed_gone():
    assert [event for state, event in TRANSITIONS if state is State.ENDED] == [Event.ALL_GONE]
    assert [event for state, event in TRANSITIONS if state is State.CLOSED] == []


def ends():
    for (state, event), targets in TRANSITIONS.items():
        if State.ENDED in targets:
            yield pytest.param(state, event, id=f"{state.value} on {event.value}")


@pytest.mark.parametrize(("state", "event"), list(ends()))
def test_every_end_stops_every_placement_with_one_command_each(state, event):
    placements = (
        make.placement(PlacementState.STOPPING, generation=1),
        make.placement(PlacementState.OBSERVED, generation=2),
        make.placement(PlacementState.REQUESTED, generation=3),
    )
    reached, effects = machine.advance(in_state(state, *placements), event, Facts(finish_is_final=True))
    assert reached is State.ENDED
    assert effects == (
        Moved(state, State.ENDED),
        EndDecided(),
        CommandQueued(CommandKind.STOP, 1),
        PlacementStopping(2),
        CommandQueued(CommandKind.STOP, 2),
        PlacementStopping(3),
        CommandQueued(CommandKind.STOP, 3),
    )


@pytest.mark.parametrize(("state", "event"), list(ends()))
def test_an_end_with_no_placement_left_is_closed_by_the_same_call(state, event):
    reached, effects = machine.advance(make.run(state), event, Facts(finish_is_final=True))
    assert reached is State.CLOSED
    assert effects == (
        Moved(state, State.ENDED),
        EndDecided(),
        Moved(State.ENDED, State.CLOSED),
        EndConfirmed(),
    )


def test_an_end_is_not_confirmed_while_a_proxy_lists_a_session_of_it():
    reached, effects = machine.advance(make.run(State.LIVE), Event.END, Facts(is_listed=True))
    assert (reached, effects) == (State.ENDED, (Moved(State.LIVE, State.ENDED), EndDecided()))


def test_every_event_that_can_end_a_run_has_a_reason():
    can_end = {event for (_, event), targets in TRANSITIONS.items() if State.ENDED in targets}
    assert set(ENDING_EVENTS) == can_end
    assert set(ENDING_EVENTS.values()) <= set(Reason)


class HookError(Exception):
    pass


def test_a_hook_that_raises_is_heard_and_leaves_the_state_as_it_was(monkeypatch):
    subjects = []

    class Watched(machine.Subject):
        def __init__(self, *given):
            super().__init__(*given)
            subjects.append(self)

    def fail(placement):
        raise HookError

    monkeypatch.setattr(machine, "Subject", Watched)
    monkeypatch.setattr(machine, "PlacementStopping", fail)
    run = in_state(State.LIVE, make.placement(generation=77))  # not remembered from another test
    with pytest.raises(HookError):
        machine.advance(run, Event.END, Facts())
    assert run.stream.state is State.LIVE
    assert run.placements[0].state is PlacementState.OBSERVED
    assert subjects[0].state == State.LIVE.value
    # And what failed is not remembered.
    monkeypatch.undo()
    assert machine.advance(run, Event.END, Facts())[0] is State.ENDED


def test_what_is_remembered_is_what_a_machine_of_its_own_decides():
    for state, event in TRANSITIONS:
        for facts in (
            Facts(),
            Facts(session_is_observed=True),
            Facts(source_is_lost=True),
            Facts(finish_is_final=True),
        ):
            run = in_state(state)
            held = tuple((p.generation, p.state is PlacementState.STOPPING) for p in run.placements)
            first, again = machine.advance(run, event, facts), machine.advance(run, event, facts)
            assert first == again == machine._decide.__wrapped__(state, event, facts, held)
