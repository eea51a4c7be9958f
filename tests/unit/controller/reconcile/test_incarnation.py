import os
import re
import subprocess
from pathlib import Path

import pytest

from controller.reconcile import incarnation


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def described_as(pid: int, name: str = "c1") -> str:
    """Return the name that another process would have given itself."""
    own = incarnation.describe(name)
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return re.sub(r"/\d+\.\d+@", f"/{pid}.{start}@", own)


def test_this_process_is_alive():
    own = incarnation.describe("c1")
    assert own.startswith(f"c1/{os.getpid()}.")
    assert own == incarnation.describe("c1")
    assert not incarnation.is_known_dead(own)


def test_a_process_is_dead_once_it_was_killed_even_before_its_parent_looks(child):
    described = described_as(child.pid)
    assert not incarnation.is_known_dead(described)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert incarnation.is_known_dead(described)
    child.wait()
    assert incarnation.is_known_dead(described)


def test_a_number_that_was_given_to_another_process_is_no_sign_of_life():
    own = incarnation.describe("c1")
    assert incarnation.is_known_dead(re.sub(r"\.\d+@", ".1@", own))


@pytest.mark.parametrize(
    "described",
    [
        pytest.param("c1/1.1@" + "0" * 40, id="another machine"),
        pytest.param("c1/1.0123456789abcdef", id="one that cannot be checked"),
        pytest.param("somebody", id="a name of another kind"),
        pytest.param("", id="nobody"),
    ],
)
def test_of_others_nothing_is_known(described):
    assert not incarnation.is_known_dead(described)


def test_without_proc_a_name_is_still_one_of_its_kind(tmp_path):
    first, second = (incarnation.describe("c1", tmp_path) for _ in range(2))
    assert first != second
    assert not incarnation.is_known_dead(first, tmp_path)
