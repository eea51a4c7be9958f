"""Keeps the processes of one machine running: starts them by stages, again when they die, and stops them all.

It knows processes, not streams. It never restarts what says that it cannot start (exit code 2 before it was ready):
that is for people to repair. Children have a process group of their own, so that Ctrl-C reaches the supervisor alone
and the order of stopping is its own; they follow it into death by themselves (``process.begin``).
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from controller.errors import StartupError

CANNOT_START = 2
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
SETTLED_SECONDS = 60.0
"""A child that ran this long is not in a series of deaths: the next restart is quick again."""
STOP_SECONDS = 4.5
"""For all children together; what is left then is killed."""
PROBE_PAUSE_SECONDS = 0.1
PROBE_SECONDS = 2.0

log = structlog.get_logger(__name__)

Probe = Callable[[], Awaitable[bool]]


class ChildRefusedError(StartupError):
    """A child cannot start, and has said why on stderr itself."""


@dataclass(frozen=True, slots=True)
class Child:
    """What to run, and how to see that it is ready."""

    name: str
    command: tuple[str, ...]
    probe: Probe


class Keeper:
    """One child, started again whenever it dies."""

    def __init__(self, child: Child, environment: Mapping[str, str]) -> None:
        self.child = child
        self.ready = asyncio.Event()
        """Set once the first process of this child was seen ready."""
        self._environment = environment
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep the child running until ``stop``. Raises ChildRefusedError when it cannot start."""
        loop = asyncio.get_running_loop()
        delay = BACKOFF_FIRST_SECONDS
        while not self._stopping.is_set():
            began = loop.time()
            self._process = await self._spawn()
            if self._stopping.is_set():  # meanwhile: nobody else knows this process
                self._process.terminate()
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            if code == CANNOT_START and not self.ready.is_set():
                raise ChildRefusedError(f"the {self.child.name} cannot start: see above")
            delay = BACKOFF_FIRST_SECONDS if loop.time() - began > SETTLED_SECONDS else delay
            log.error("process.died", name=self.child.name, died_by=_name_exit(code), restart_in_seconds=delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            delay = min(delay * 2, BACKOFF_MAX_SECONDS)

    async def watch(self) -> None:
        """Return once the child is ready, however long that takes."""
        while not await self._is_ready():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
        self.ready.set()
        log.info("process.ready", name=self.child.name)

    async def stop(self) -> None:
        """Ask it to end, and return when it has."""
        self._stopping.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()

    def kill(self) -> None:
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            log.warning("process.killed", name=self.child.name)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self.child.command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,
        )
        log.info("process.started", name=self.child.name, pid=process.pid)
        return process

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self.child.probe()
        except (OSError, TimeoutError, EOFError):
            return False


def penstock(*arguments: str) -> tuple[str, ...]:
    """Return the command line of ``penstock ARGUMENTS`` in this very installation."""
    return (sys.executable, "-m", "controller", *arguments)


async def run_once(name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command to its end. Raises ChildRefusedError unless it succeeds."""
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdin=asyncio.subprocess.DEVNULL)
    code = await process.wait()
    if code != 0:
        raise ChildRefusedError(f"{name} failed ({_name_exit(code)}): see above")


async def keep(
    stages: Sequence[Sequence[Child]],
    environment: Mapping[str, str],
    stop: asyncio.Event,
    announce: Callable[[], None],
) -> None:
    """Run all children until ``stop``. A stage starts when those before it are ready; then ``announce`` is called."""
    started: list[list[Keeper]] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(_start(stages, environment, started, tasks), name="start")
            starting.add_done_callback(lambda done: None if done.cancelled() or done.exception() else announce())
            await stop.wait()
            starting.cancel()
            await stop_all(started)
    except ExceptionGroup as group:
        refusals = group.subgroup(ChildRefusedError)
        if refusals is None:
            raise
        raise refusals.exceptions[0] from None
    finally:
        await stop_all(started)


async def _start(
    stages: Sequence[Sequence[Child]],
    environment: Mapping[str, str],
    started: list[list[Keeper]],
    tasks: asyncio.TaskGroup,
) -> None:
    for stage in stages:
        keepers = [Keeper(child, environment) for child in stage]
        started.append(keepers)
        for keeper in keepers:
            tasks.create_task(keeper.run(), name=keeper.child.name)
        async with asyncio.TaskGroup() as watches:
            for keeper in keepers:
                watches.create_task(keeper.watch(), name=f"watch {keeper.child.name}")


async def stop_all(stages: Sequence[Sequence[Keeper]]) -> None:
    """Stop the last stage first, each when the one after it has ended; kill what is left at the deadline."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            for stage in reversed(stages):
                async with asyncio.TaskGroup() as stops:
                    for keeper in stage:
                        stops.create_task(keeper.stop(), name=f"stop {keeper.child.name}")
    except TimeoutError:
        for stage in stages:
            for keeper in stage:
                keeper.kill()


def _name_exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
