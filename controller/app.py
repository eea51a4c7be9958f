"""The controller process: settles the interpreter, serves what ``rooms`` ties together, and ends it in order.

It decides nothing.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

import structlog
import uvicorn
import uvloop
from typing_extensions import override

from controller import signals, telemetry
from controller.errors import StartupError
from controller.proxy_client import http_session
from controller.rooms import Rooms, clients
from controller.settings import Address, Settings
from controller.store import migrate, proxies
from controller.store.engine import Database

log = structlog.get_logger(__name__)

GOODBYE_SECONDS = 3.0
"""How long open requests may take to end once the process has been told to."""

SWITCH_SECONDS = 0.0001
"""How long a thread of the store may keep the interpreter from the loop, which everybody waits for. Python's own 5 ms
are paid several times for every request, and once for every row that another thread reads from SQLite."""


GARBAGE_THRESHOLDS = (100_000, 50, 100)
"""Every list of a fleet makes tens of thousands of values that hold no cycles: Python's own thresholds would search all
that is remembered of ten thousand streams for garbage, at every look."""


def main(settings: Settings) -> None:
    """Run a controller until SIGTERM or SIGINT.

    Raises:
        StartupError: it cannot start: a taken port, a database that is not to be had.
    """
    telemetry.configure(settings.log_format, settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with _listen(settings.http) as listener:
        migrate.upgrade(settings.database_url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run_until_signalled(settings, listener))
    # Everything is closed and written. To look for garbage in what is left would take longer than all of the above.
    gc.freeze()


async def _run_until_signalled(settings: Settings, listener: socket.socket) -> None:
    with signals.stopping() as stop:
        await run(settings, listener, stop)


async def run(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Run a controller on a listening socket until ``stop`` is set."""
    database = Database(
        settings.database_url, readers=settings.database_readers, synchronous=settings.database_synchronous
    )
    try:
        known = await database.read(proxies.load)
        async with http_session() as http:
            rooms = Rooms(settings, database, clients(settings, http), [entry.view for entry in known])
            await _serve(rooms, listener, stop)
    finally:
        await database.dispose()


async def _serve(rooms: Rooms, listener: socket.socket, stop: asyncio.Event) -> None:
    server = _WebServer(
        uvicorn.Config(
            rooms.api,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=int(GOODBYE_SECONDS),
        )
    )
    async with asyncio.TaskGroup() as group:
        web = group.create_task(server.serve(sockets=[listener]), name="web")
        pillars = [group.create_task(_pillar(run), name=name) for name, run in rooms.tasks().items()]
        log.info("controller.started", pid=os.getpid())
        await stop.wait()
        log.info("controller.stopping")
        # 1. Followers of the event stream are let go, and no new request is taken.
        rooms.stopping.set()
        server.should_exit = True
        # 2. MQTT, the loop and the dispatcher stop where they are: whatever is half done is in the database. Then the
        #    lease is given back.
        for pillar in pillars:
            pillar.cancel()
        await asyncio.wait([web, *pillars])
    log.info("controller.stopped")


async def _pillar(run: Callable[[], Awaitable[None]]) -> None:
    await run()


class _WebServer(uvicorn.Server):
    """Signals are this process's business, not the web server's."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as failed:
        listener.close()
        raise StartupError(f"cannot listen on {address}: {failed.strerror}") from failed
    return listener
