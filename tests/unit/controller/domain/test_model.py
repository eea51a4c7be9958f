"""The few things that the nouns know about themselves."""

import pytest

from controller.domain.model import ConditionType, Outcome, PlacementState, Reason, State
from tests.fakes import domain_values as make


def test_a_run_is_meant_to_play_until_its_end_is_decided():
    assert [state for state in State if not state.is_active] == [State.ENDED, State.CLOSED]


def test_a_placement_is_wanted_until_it_stops():
    assert [state for state in PlacementState if state.is_wanted] == [PlacementState.REQUESTED, PlacementState.OBSERVED]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_outcome(reason):
    failed = {Reason.SOURCE_LOST, Reason.STALL_TIMEOUT, Reason.START_FAILED, Reason.LOOP_DETECTED}
    assert reason.outcome is (Outcome.FAILED if reason in failed else Outcome.COMPLETED)


def test_an_absent_condition_is_unknown():
    stream = make.stream()
    assert stream.condition(ConditionType.PLACED) is None
    assert not stream.is_source_lost


def test_a_run_finds_its_placements_by_generation():
    run = make.run(State.LIVE, make.placement(), make.placement(PlacementState.STOPPING, generation=2))
    assert run.placement(2) is run.placements[1]
    assert run.placement(3) is None
    assert run.wanted == run.placements[:1]
