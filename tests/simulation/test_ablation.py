"""Without any one of these rules some world goes wrong that does not with it. ``make ablation`` says in how many of a hundred."""

import pytest

from controller.domain.model import CommandKind, PlacementState, State
from controller.domain.observation import Desired, Observed
from controller.domain.plan import GateKind, Policy, plan
from tests.fakes import domain_values as make
from tests.simulation import runner
from tests.simulation.ablation import RULES, Rule, find

SEEDS_TRIED = 48
KNOWN = {"newer than database": 36}
"""Seeds to try first, where one of many goes wrong."""
CAUGHT = [rule for rule in RULES.values() if not rule.directed]


@pytest.mark.parametrize("rule", CAUGHT, ids=lambda rule: f"without {rule.name}")
def test_some_world_goes_wrong_without_the_rule(rule: Rule):
    tried = [KNOWN[rule.name]] if rule.name in KNOWN else []
    with runner.at_leisure():
        assert find(rule, [*tried, *range(SEEDS_TRIED)]) is not None, rule.meaning


def test_a_rule_that_no_world_misses_has_a_test_of_its_own():
    assert {rule.directed for rule in RULES.values()} - {""} <= set(globals())


def test_a_replacement_that_was_not_seen_is_none():
    """The one session of a live stream is at an older generation than the database's: only what is seen replaces it."""
    asked = make.placement(PlacementState.REQUESTED, generation=2)
    desired = Desired((make.run(State.LIVE, asked, generation=2),), pending=frozenset({(make.ID, 2, make.P1)}))
    observed = Observed((make.view(make.session(generation=1)),))
    planned = plan(desired, observed, Policy(), make.NOW)
    assert not planned.stops
    assert [action.gate_kind for action in planned.actions if action.drift] == [GateKind.REPLACEMENT]
    with RULES["seen replacement"].without():
        [stop] = plan(desired, observed, Policy(), make.NOW).stops
    assert (stop.kind, stop.generation) == (CommandKind.STOP, 1)
