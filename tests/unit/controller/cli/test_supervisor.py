"""The supervisor, over real processes that are small enough to be quick."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from controller.cli import supervisor
from controller.cli.supervisor import Child, ChildRefusedError

DEADLINE_SECONDS = 20


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


SLEEPER = python("import time; time.sleep(60)")


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def writes_pid(path: Path, rest: str = "import time; time.sleep(60)") -> tuple[str, ...]:
    return python(f"import os; open({str(path)!r}, 'a').write(str(os.getpid()) + '\\n'); {rest}")


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.01)


class Running:
    """``keep`` in a task, with its announcement as an event."""

    def __init__(self, *stages: list[Child]) -> None:
        self.stop = asyncio.Event()
        self.announced = asyncio.Event()
        self.stages = stages

    async def __aenter__(self):
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self.task = self._group.create_task(
            supervisor.keep(self.stages, dict(os.environ), self.stop, self.announced.set)
        )
        return self

    async def __aexit__(self, *error):
        self.stop.set()
        await self._group.__aexit__(*error)


async def test_announces_when_all_stages_are_ready_and_stops_all(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    stages = [Child("first", writes_pid(first), at_once)], [Child("second", writes_pid(second), at_once)]
    async with asyncio.timeout(DEADLINE_SECONDS), Running(*stages) as running:
        await running.announced.wait()
        await until(lambda: pids(first) and pids(second))
        both = pids(first) + pids(second)
        assert all(alive(pid) for pid in both)
    assert not any(alive(pid) for pid in both)


async def test_a_stage_waits_for_the_one_before_it(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    is_open = False

    async def gate() -> bool:
        return is_open

    stages = [Child("first", writes_pid(first), gate)], [Child("second", writes_pid(second), at_once)]
    async with asyncio.timeout(DEADLINE_SECONDS), Running(*stages) as running:
        await until(lambda: pids(first))
        assert not second.exists()
        assert not running.announced.is_set()
        is_open = True
        await running.announced.wait()
        await until(lambda: pids(second))


async def test_restarts_what_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_SECONDS", 0.01)
    path = tmp_path / "pids"
    async with asyncio.timeout(DEADLINE_SECONDS), Running([Child("child", writes_pid(path), at_once)]) as running:
        await running.announced.wait()
        await until(lambda: len(pids(path)) == 1)
        os.kill(pids(path)[0], signal.SIGKILL)
        await until(lambda: len(pids(path)) == 2)
        assert alive(pids(path)[1])
    assert not alive(pids(path)[1])


async def test_what_cannot_start_is_not_restarted_and_ends_the_others(tmp_path):
    path = tmp_path / "pids"
    other = Child("other", writes_pid(path), at_once)
    code = f"import time, os\nwhile not os.path.exists({str(path)!r}): time.sleep(.01)\nraise SystemExit(2)"
    with pytest.raises(ChildRefusedError, match="the broken cannot start"):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await supervisor.keep(
                [[other, Child("broken", python(code), never)]], dict(os.environ), asyncio.Event(), lambda: None
            )
    assert pids(path)
    assert not alive(pids(path)[0])


async def test_exit_code_2_of_a_child_that_was_ready_is_a_death_like_others(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_SECONDS", 0.01)
    path, gate = tmp_path / "pids", tmp_path / "gate"
    rest = f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(.01)\nraise SystemExit(2)"
    async with asyncio.timeout(DEADLINE_SECONDS), Running([Child("child", writes_pid(path, rest), at_once)]) as running:
        await running.announced.wait()
        gate.touch()
        await until(lambda: len(pids(path)) >= 3)


async def test_the_last_stage_is_stopped_first(tmp_path):
    path = tmp_path / "order"

    def child(name: str) -> Child:
        code = (
            f"import signal, sys, time\n"
            f"def end(*_):\n open({str(path)!r}, 'a').write({name!r} + ' '); sys.exit(0)\n"
            f"signal.signal(signal.SIGTERM, end)\nopen({str(tmp_path / name)!r}, 'w')\ntime.sleep(60)"
        )
        return Child(name, python(code), at_once)

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Running([child("a")], [child("b")], [child("c"), child("d")]) as running,
    ):
        await running.announced.wait()
        await until(lambda: all((tmp_path / name).exists() for name in "abcd"))
    *last, second, first = path.read_text().split()
    assert (sorted(last), second, first) == (["c", "d"], "b", "a")


async def test_what_ignores_the_request_is_killed_at_the_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.2)
    path = tmp_path / "pids"
    rest = (
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(tmp_path / 'deaf')!r}, 'w'); time.sleep(60)"
    )
    async with asyncio.timeout(DEADLINE_SECONDS), Running([Child("deaf", writes_pid(path, rest), at_once)]) as running:
        await running.announced.wait()
        await until((tmp_path / "deaf").exists)
    assert not alive(pids(path)[0])


async def test_stops_while_a_child_is_still_being_started():
    async with asyncio.timeout(DEADLINE_SECONDS), Running([Child("slow", SLEEPER, never)]) as running:
        await asyncio.sleep(0)
        running.stop.set()
        await running.task
    assert not running.announced.is_set()


async def test_a_probe_that_finds_nobody_is_not_ready_yet():
    async def refused() -> bool:
        raise ConnectionRefusedError

    keeper = supervisor.Keeper(Child("x", SLEEPER, refused), {})
    watching = asyncio.ensure_future(keeper.watch())
    await asyncio.sleep(0.01)
    assert not watching.done()
    assert not keeper.ready.is_set()
    watching.cancel()


async def test_run_once_says_what_failed():
    await supervisor.run_once("fine", python("pass"), {})
    with pytest.raises(ChildRefusedError, match=r"the migration failed \(exit code 3\)"):
        await supervisor.run_once("the migration", python("raise SystemExit(3)"), {})
    with pytest.raises(ChildRefusedError, match="SIGKILL"):
        await supervisor.run_once("x", python("import os; os.kill(os.getpid(), 9)"), {})
