"""Without any one of these rules some world goes wrong that does not with it. ``make ablation`` says in how many of a hundred."""

import pytest

from tests.simulation import runner
from tests.simulation.ablation import RULES, Rule, find

SEEDS_TRIED = 48
KNOWN = {"newer than database": 32}
"""Seeds to try first, where one of many goes wrong."""
COVERED_BY_OTHERS = {"seen replacement"}
"""No world misses it here; ``test_plan_laws`` holds it: a run's only session is never stopped by a plan."""
CAUGHT = [rule for rule in RULES.values() if rule.name not in COVERED_BY_OTHERS]


@pytest.mark.parametrize("rule", CAUGHT, ids=lambda rule: f"without {rule.name}")
def test_some_world_goes_wrong_without_the_rule(rule: Rule):
    tried = [KNOWN[rule.name]] if rule.name in KNOWN else []
    with runner.at_leisure():
        assert find(rule, [*tried, *range(SEEDS_TRIED)]) is not None, rule.meaning
