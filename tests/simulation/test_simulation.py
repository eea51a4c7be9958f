"""Worlds of the simulator, as many as fit into a normal test run; ``make simulate`` lives through any number."""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.simulation import runner, world
from tests.simulation.corpus import CORPUS
from tests.simulation.patches import exchanged
from tests.simulation.storage import Storage
from tests.simulation.world import SHORT, Plot

ROOT = Path(__file__).parents[2]
FIRST, CHUNKS, SEEDS_EACH = 1000, 25, 20
"""Many small chunks, which every core takes as it becomes free (``pytest -n auto``)."""


def violations(seeds: Iterable[int], plot: Plot | None = None) -> dict[int, list[str]]:
    outcomes = runner.live(seeds, jobs=1, plot=plot)
    return {outcome.seed: outcome.violations for outcome in outcomes if outcome.violations}


@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda chunk: f"part {chunk + 1} of {CHUNKS}")
def test_nothing_goes_wrong_in_any_world(chunk: int):
    first = FIRST + chunk * SEEDS_EACH
    told = "make simulate SEED=n ARGS=--short tells the story"
    assert violations(range(first, first + SEEDS_EACH), SHORT) == {}, told


def test_nothing_goes_wrong_where_it_once_did():
    assert violations(CORPUS) == {}, "make simulate SEED=n tells the story"


@pytest.mark.parametrize("seed", [7, 8])
def test_the_short_way_to_the_database_makes_no_other_world(seed: int):
    """``QuickSession`` is SQLAlchemy's session with less in between: to the last millisecond the same happens."""
    quick = world.run(seed, SHORT)
    with exchanged(Storage, "given", lambda _storage: nullcontext()):
        assert world.run(seed, SHORT).digest == quick.digest


def test_a_seed_tells_the_same_story_in_every_process():
    """Whatever order its sets of texts have, which is another in every process."""
    told = {seed: {tell(seed, hashed) for hashed in (1, 2)} for seed in (7, 8)}
    assert [len(stories) for stories in told.values()] == [1, 1]
    assert told[7] != told[8]
    assert "session.ensured" in next(iter(told[7]))


def tell(seed: int, hashed: int) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    environment = os.environ | {"PYTHONHASHSEED": str(hashed)}
    done = subprocess.run(
        command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=100
    )
    return done.stdout
