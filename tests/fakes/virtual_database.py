"""A real SQLite database whose clock is the event loop's, so that leases expire in virtual time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import event

from controller.store.engine import Database

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def open_virtual(file: Path, failpoint: Callable[[str], None] = lambda _name: None) -> Database:
    """Open it, run in the loop's own thread; several may share a file, as processes do."""
    database = Database(f"sqlite:///{file}", executor="inline", synchronous="NORMAL", failpoint=failpoint)
    clock = asyncio.get_running_loop().time

    def now(_format: str, _when: str) -> str:
        moment = BEGINNING + timedelta(seconds=clock())
        return moment.isoformat(timespec="milliseconds").removesuffix("+00:00")

    for engine in (database._writer, database._reader):
        event.listen(engine, "connect", lambda connection, _record: connection.create_function("strftime", 2, now))
    return database
