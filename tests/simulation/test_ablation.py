"""Without any one of the rules some world goes wrong. ``make ablation`` says in how many of a hundred."""

import pytest

from tests.simulation import runner
from tests.simulation.ablation import RULES, Rule, find

SEEDS_TRIED = 12


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: f"without {rule.name}")
def test_some_world_goes_wrong_without_the_rule(rule: Rule):
    with runner.at_leisure():
        assert find(rule, range(SEEDS_TRIED)) is not None, rule.meaning
