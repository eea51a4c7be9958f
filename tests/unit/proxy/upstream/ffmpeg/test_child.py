"""A child is read, listened to and always ended; nothing of ours leaks into it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from proxy.upstream.ffmpeg import child as children
from proxy.upstream.ffmpeg.child import COMPLAINTS_BYTES_MAX, Child

STUBBORN = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'up'); signal.pause()"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@asynccontextmanager
async def running(*command: str, words: bytes = b"") -> AsyncIterator[Child]:
    before = descriptors()
    child = Child(command, words)
    try:
        async with asyncio.timeout(10):
            yield child
    finally:
        await child.end()
        assert not psutil.pid_exists(child.pid)
        assert descriptors() == before


async def everything(child: Child) -> bytes:
    got = b""
    while piece := await child.read():
        got += piece
    return got


async def test_it_gets_its_words_and_its_output_is_read_to_the_end():
    async with running("/bin/cat", words=b"file 'x'\n") as child:
        assert await everything(child) == b"file 'x'\n"
        assert await child.exit_code() == 0


async def test_what_it_complains_about_never_stops_it_and_the_last_is_kept():
    code = "import sys; sys.stderr.write('x' * 1_000_000 + 'at last'); sys.stderr.flush(); print('done')"
    async with running(*python(code)) as child:
        assert await everything(child) == b"done\n"
        assert await child.exit_code() == 0
        assert child.complaints.endswith("xxat last")
        assert len(child.complaints) == COMPLAINTS_BYTES_MAX


async def test_a_failure_and_a_signal_are_told_by_its_exit_code():
    async with running(*python("raise SystemExit(7)")) as child:
        assert await everything(child) == b""
        assert await child.exit_code() == 7
    async with running(*python("import os; os.kill(os.getpid(), 9)")) as child:
        assert await everything(child) == b""
        assert await child.exit_code() == -9


async def test_a_program_that_is_not_there_is_a_failure():
    async with running("/nowhere/ffmpeg") as child:
        assert await everything(child) == b""
        assert await child.exit_code() == 1


async def test_it_sees_nothing_of_our_environment_or_files():
    with Path("/dev/null").open() as ours:
        os.set_inheritable(ours.fileno(), True)  # even so
        code = "import os; print(sorted(os.environ), len(os.listdir('/proc/self/fd')), os.getcwd())"
        async with running(*python(code)) as child:
            assert await everything(child) == b"['AV_LOG_FORCE_NOCOLOR', 'LC_ALL'] 4 /\n"


async def test_one_that_goes_when_it_is_asked_is_not_waited_for():
    async with running("/bin/sleep", "60") as child:
        pass
    assert await child.exit_code() == -15


async def test_one_that_stays_is_killed():
    async with running(*python(STUBBORN)) as child:
        assert await child.read() == b"up"
    assert await child.exit_code() == -9


async def test_the_whole_group_is_ended():
    code = (
        "import os, subprocess; subprocess.Popen(['/bin/sleep', '60']); os.write(1, b'up'); os.read(0, 1); os.pause()"
    )
    async with running(*python(code.replace("os.pause()", "__import__('signal').pause()"))) as child:
        assert await child.read() == b"up"
        grandchildren = psutil.Process(child.pid).children()
        assert len(grandchildren) == 1
    assert psutil.wait_procs(grandchildren, timeout=5)[1] == []


async def test_nothing_is_left_when_ending_it_is_cut_short():
    child = Child(python(STUBBORN))
    assert await child.read() == b"up"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await child.end()
    assert not psutil.pid_exists(child.pid)


async def test_one_that_closes_its_output_and_stays_has_no_exit_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "GOODBYE_SECONDS", 0.05)
    async with running(*python("import os, signal; os.close(1); signal.pause()")) as child:
        assert await everything(child) == b""
        assert await child.exit_code() is None


async def test_nothing_is_left_when_it_cannot_be_started(monkeypatch: pytest.MonkeyPatch):
    before = descriptors()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        Child(["/bin/true"])
    assert descriptors() == before
