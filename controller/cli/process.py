"""What every long-running ``penstock`` process does first: take its name, and follow its supervisor into death.

It decides nothing about what the process is for.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from controller.errors import StartupError

if TYPE_CHECKING:
    import asyncio

SUPERVISOR_VARIABLE = "PENSTOCK_SUPERVISOR_PID"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
FOLLOW_SECONDS = 1.0
GOODBYE_SECONDS = 5.0
"""Without its supervisor a process may take this long to end by itself."""


@contextmanager
def refusing_to_start() -> Iterator[None]:
    """Turn settings that do not allow a start, of either house, into the error that the command line tells."""
    try:
        yield
    except ValueError as error:
        raise StartupError(str(error)) from error


def begin(name: str, supervisor_pid: int | None = None) -> None:
    """Show up in ``ps`` as ``penstock NAME``; with a supervisor, end when it ends, even by ``kill -9``."""
    import setproctitle

    setproctitle.setproctitle(f"penstock {name}")
    if supervisor_pid is not None:
        _follow(supervisor_pid)


def _follow(supervisor_pid: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have died before the kernel was asked.
    if os.getppid() != supervisor_pid:
        sys.exit(1)
    threading.Thread(target=_outlive_briefly, args=(supervisor_pid,), name="supervisor", daemon=True).start()


def _outlive_briefly(supervisor_pid: int) -> None:
    """Make sure of the end: nobody is left to kill a process that does not heed SIGTERM."""
    while os.getppid() == supervisor_pid:
        time.sleep(FOLLOW_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GOODBYE_SECONDS)
    os._exit(1)


def run(main: Callable[["asyncio.Event"], Awaitable[None]]) -> None:
    """Run ``main`` on uvloop, and set its event on SIGTERM or SIGINT."""
    import asyncio

    import uvloop

    from controller import signals

    async def run_until_stopped() -> None:
        with signals.stopping() as stop:
            await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_stopped())
