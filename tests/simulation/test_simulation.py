"""Worlds of the simulator, as many as fit into the time of a normal test run; ``make simulate`` runs any number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.corpus import CORPUS

ROOT = Path(__file__).parents[2]
CHUNKS, SEEDS_EACH = 4, 15


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own: worlds exchange clocks and dice of the modules they run in."""
    command = [sys.executable, "-m", "tests.simulation", *map(str, arguments)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda chunk: f"part {chunk + 1} of {CHUNKS}")
def test_nothing_goes_wrong_in_any_world(chunk: int):
    done = simulate("--first", 1000 + chunk * SEEDS_EACH, "--seeds", SEEDS_EACH, "--jobs", 1)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_goes_wrong_where_it_once_did():
    done = simulate("--jobs", 1, "--corpus")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CORPUS)} worlds" in done.stdout


def test_a_seed_tells_the_same_story_twice():
    first, again = simulate("--seed", 7), simulate("--seed", 7)
    assert first.stdout == again.stdout
    assert "session.ensured" in first.stdout, "it is a story"
    assert simulate("--seed", 8).stdout != first.stdout
