"""Worlds of the simulator, as many as fit into a normal test run; ``make simulate`` lives through any number."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.simulation import runner
from tests.simulation.corpus import CORPUS

ROOT = Path(__file__).parents[2]
CHUNKS, SEEDS_EACH = 4, 10


def violations(seeds: Iterable[int]) -> dict[int, list[str]]:
    return {outcome.seed: outcome.violations for outcome in runner.live(seeds, jobs=1) if outcome.violations}


@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda chunk: f"part {chunk + 1} of {CHUNKS}")
def test_nothing_goes_wrong_in_any_world(chunk: int):
    first = 1000 + chunk * SEEDS_EACH
    assert violations(range(first, first + SEEDS_EACH)) == {}, "make simulate SEED=n tells the story"


def test_nothing_goes_wrong_where_it_once_did():
    assert violations(CORPUS) == {}


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
