"""What controllers of one database tell one another: where to look, never what happened.

On Postgres by NOTIFY: told here, from one place, once for all that came together, and heard on a connection of its own.
On SQLite by a number that changes when another process commits. Both only make things fast: whatever is not heard, the
next resync finds.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import structlog
from sqlalchemy.orm import Session

from controller.domain.model import Key, SourceId
from controller.errors import DatabaseError
from controller.store import dialects
from controller.store.engine import Database

log = structlog.get_logger(__name__)

CHANNEL = "penstock"

SPACING_SECONDS = 0.05
"""Between two notices of one controller: what comes meanwhile is told together."""

LOOK_SECONDS = 0.5
"""How often SQLite is asked whether another process has committed."""

RETRY_SECONDS = 1.0
"""After the connection that listens was lost."""

PAYLOAD_BYTES_MAX = 7_000
"""Postgres takes 8000. What does not fit says: look everywhere."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Where to look."""

    keys: frozenset[Key] | None = frozenset()
    """None is everywhere."""
    births: frozenset[SourceId] = frozenset()
    """Sources that whoever is connected to the broker should ask for a birth."""
    about_lease: bool = False
    """Somebody took the lease, or gave it back."""

    def __or__(self, other: "Notice") -> "Notice":
        keys = None if self.keys is None or other.keys is None else self.keys | other.keys
        return Notice(keys, self.births | other.births, self.about_lease or other.about_lease)


NOTHING = Notice()
EVERYTHING = Notice(keys=None, about_lease=True)
"""Something may have been missed."""


class Notices(Protocol):
    """Both ways: tell the others, and hear them."""

    def tell(self, notice: Notice) -> None:
        """Tell the others soon. For the thread of the loop; never waits."""

    async def run(self) -> None:
        """Carry notices until cancelled."""


def between(
    database: Database, url: str, *, origin: str, heard: Callable[[Notice], None]
) -> "PostgresNotices | SqliteNotices":
    """Return what carries notices on this kind of database. ``heard`` is told of those of others."""
    address = dialects.listening_address(url)
    if address is None:
        return SqliteNotices(database, heard)
    return PostgresNotices(database, address, origin=origin, heard=heard)


def send(session: Session, notice: Notice, *, origin: str) -> None:
    """Tell the others with the commit of this transaction, where the database can do that."""
    dialects.notify(session, CHANNEL, _encode(notice, origin))


class PostgresNotices:
    """By LISTEN and NOTIFY."""

    def __init__(self, database: Database, address: str, *, origin: str, heard: Callable[[Notice], None]) -> None:
        self._database = database
        self._address = address
        self._origin = origin
        self._heard = heard
        self._waiting = NOTHING
        self._has_news = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        self._waiting |= notice
        self._has_news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak(), name="tell other controllers")
            group.create_task(self._listen(), name="hear other controllers")

    async def _speak(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            notice, self._waiting = self._waiting, NOTHING
            try:
                await self._database.write(send, notice, origin=self._origin)
            except DatabaseError as failed:
                log.warning("notices.not_told", error=str(failed))
            await asyncio.sleep(SPACING_SECONDS)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._ears() as connection:
                    await self._hear(connection)
            except (psycopg.Error, OSError, TimeoutError) as failed:
                log.warning("notices.not_heard", error=str(failed) or type(failed).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    @asynccontextmanager
    async def _ears(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with asyncio.timeout(dialects.CONNECT_SECONDS):
            connection = await psycopg.AsyncConnection.connect(self._address, autocommit=True)
        try:
            async with asyncio.timeout(dialects.CONNECT_SECONDS):
                await connection.execute(f"LISTEN {CHANNEL}")
            yield connection
        finally:
            await connection.close()

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._heard(EVERYTHING)
        while True:
            async for notified in connection.notifies(timeout=0):
                origin, notice = _decode(notified.payload)
                if origin != self._origin:
                    self._heard(notice)
            await _until_readable(connection.fileno())


class SqliteNotices:
    """By looking: cheap enough for the rare case of two processes on one file."""

    def __init__(self, database: Database, heard: Callable[[Notice], None]) -> None:
        self._database = database
        self._heard = heard

    def tell(self, notice: Notice) -> None:
        """Do nothing: the commit itself is seen."""

    async def run(self) -> None:
        seen: int | None = None
        while True:
            try:
                version = await self._database.foreign_version()
            except DatabaseError as failed:
                log.warning("notices.not_heard", error=str(failed))
                version = None
            if seen is not None and version != seen:
                self._heard(EVERYTHING)
            seen = version if version is not None else seen
            await asyncio.sleep(LOOK_SECONDS)


async def _until_readable(descriptor: int) -> None:
    """Wait for the socket alone, so that to cancel the wait disturbs nothing."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _encode(notice: Notice, origin: str) -> str:
    body: dict[str, Any] = {"from": origin, "lease": notice.about_lease}
    keys = None if notice.keys is None else sorted(notice.keys)
    text = json.dumps({**body, "keys": keys, "births": sorted(notice.births)})
    return text if len(text) <= PAYLOAD_BYTES_MAX else json.dumps({**body, "keys": None, "births": []})


def _decode(payload: str) -> tuple[str, Notice]:
    """Read a notice; of one that another version wrote otherwise, that something is new."""
    try:
        body = json.loads(payload)
        keys = None if body["keys"] is None else frozenset(Key(key) for key in body["keys"])
        births = frozenset(SourceId(source) for source in body["births"])
        return str(body["from"]), Notice(keys, births, bool(body["lease"]))
    except (ValueError, KeyError, TypeError):
        return "", EVERYTHING
