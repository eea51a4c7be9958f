"""A program on the leash is the program itself, and does not outlive whoever started it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from proxy.upstream.ffmpeg import leash

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([*sys.argv[1:], str(os.getpid()), "/bin/sleep", "60"], pass_fds=[int(os.environ["END"])])
time.sleep(60)
"""
LEASH = (sys.executable, "-I", "-S", leash.__file__)


def test_the_process_becomes_the_program():
    done = subprocess.run([*LEASH, str(os.getpid()), "/bin/echo", "a b", "c"], capture_output=True, check=True)
    assert done.stdout == b"a b c\n"


def test_a_parent_that_was_gone_before_is_noticed():
    done = subprocess.run([*LEASH, str(os.getpid() + 1), "/bin/echo"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (leash.EXIT_ORPHANED, b"")


def test_the_program_dies_with_its_parent_however_that_dies():
    read_end, write_end = os.pipe()
    parent = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            PARENT,
            *LEASH,
        ],
        pass_fds=[write_end],
        env={"END": str(write_end)},
    )
    os.close(write_end)
    try:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while not (born := children.read_text().split()):
            assert parent.poll() is None
        while not Path(f"/proc/{born[0]}/cmdline").read_bytes().startswith(b"/bin/sleep"):
            assert parent.poll() is None
        assert not select.select([read_end], [], [], 0)[0]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert select.select([read_end], [], [], 5)[0], "the program still holds its end of the pipe"
        assert os.read(read_end, 1) == b""
    finally:
        parent.kill()
        os.close(read_end)
