"""In processes of their own: the allocator belongs to the whole of one."""

import platform
import subprocess
import sys

import pytest

BEATS = """
import resource, sys
from proxy.heap import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    raise SystemExit("refused")
def beat(number):
    pieces = [bytes(50_000 + number) for _ in range(100)]
    return len(b"".join(pieces[:5]))
for number in range(10):
    beat(number)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(50):
    beat(number)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 50)
"""


def faults_a_beat(how: str) -> int:
    command = [sys.executable, "-c", BEATS, how]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator this is about")
def test_memory_that_comes_and_goes_is_not_asked_for_anew() -> None:
    assert faults_a_beat("kept") < 100 < faults_a_beat("given back")
