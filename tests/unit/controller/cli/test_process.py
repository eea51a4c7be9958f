"""Names of processes, and following the supervisor into death. Real processes: there is no other way to see it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CHILD = """
import os, signal, sys, time
from controller.cli import process
process.GOODBYE_SECONDS = 0.2
process.FOLLOW_SECONDS = 0.05
process.begin("proxy", int(sys.argv[1]))
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid()), sys.argv[2]], stdout=subprocess.PIPE)
print(child.stdout.readline().decode().strip(), flush=True)
sys.stdin.read()
"""


def follow(manner: str) -> tuple[subprocess.Popen[bytes], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, manner], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def ended(pid: int) -> bool:
    """Wait for a process that is not ours to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(20_000))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("manner", ["heeding", "deaf"])
def test_a_child_ends_with_its_supervisor_even_by_kill_9(manner):
    parent, child = follow(manner)
    assert Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0") == b"penstock proxy"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        assert ended(child)
    finally:
        parent.communicate()


def test_a_child_whose_supervisor_is_gone_already_does_not_start():
    code = "from controller.cli import process; process.begin('x', 1); print('ran')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_process_ends_when_asked_and_is_not_hurried():
    code = (
        "from controller.cli import process\n"
        "async def main(stop):\n print('up', flush=True)\n await stop.wait()\n print('down', flush=True)\n input()\n"
        "process.run(main)\n"
        "print('closed', flush=True)\n"
        "input()\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    for step in (b"up\n", b"down\n", b"closed\n"):
        assert running.stdout.readline() == step
        running.terminate()
        if step != b"up\n":
            running.stdin.write(b"on\n")
            running.stdin.flush()
    assert running.wait(timeout=30) == 0
    running.communicate()
