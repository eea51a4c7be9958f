"""The one database of a world: real SQLite in memory behind the real store. It survives every process.

Its clock is the world's, its commits are failpoints, and it can be set back to an older backup. One connection serves
all worlds of a Python process, since opening it and compiling the statements costs more than a world.
"""

import functools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from controller.errors import DatabaseUnavailableError
from controller.store import engine, history, lease, outbox, tables
from controller.store.engine import Database
from controller.store.lease import Claim, Lease
from tests.simulation.clock import Process
from tests.simulation.patches import exchanged
from tests.simulation.session import Means, QuickSession
from tests.simulation.stage import Stage


class _Shared:
    """What is made once per Python process."""

    def __init__(self) -> None:
        self.failpoint: Callable[[str], None] = lambda _name: None
        self.clock: Callable[[], str] = lambda: ""
        # The driver keeps what it has compiled; a world has more statements than it would by itself.
        self.database = Database("sqlite://?cached_statements=1000", executor="inline", failpoint=self._fail)
        tables.metadata.create_all(self.database._writer)
        with self.database._writer.connect() as connection:
            raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self.raw = raw
        self.raw.execute("PRAGMA synchronous = OFF")
        # SQLite's own is asked for the time by ``db_now``, and by nobody else.
        self.raw.create_function("strftime", 2, lambda _format, _when: self.clock())
        self.empty = copy_of(self.raw)
        self.means = Means(self.database._writer, self.raw)

    def _fail(self, name: str) -> None:
        self.failpoint(name)


def copy_of(connection: sqlite3.Connection) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:")
    connection.backup(copy)
    return copy


_shared = functools.cache(_Shared)


class Storage:
    """The database as the world sees it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shared = _shared()
        self._client: Process | None = None
        self._work = ""
        self._commits: Counter[str] = Counter()
        self.is_down = False
        self.on_commit: Callable[[], None] = lambda: None
        self._shared.empty.backup(self._shared.raw)
        self._shared.clock = lambda: stage.now().isoformat(timespec="milliseconds").removesuffix("+00:00")
        self._shared.failpoint = self._failpoint

    @contextmanager
    def given(self) -> Iterator[None]:
        """Let the store come to its database by the short way."""
        with exchanged(engine, "Session", lambda _engine, **_options: QuickSession(self._shared.means)):
            yield

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database from outside, as nobody in the world can."""
        return self._shared.raw.execute(statement, values).fetchall()

    def answer_idle(self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer for the questions that every process repeats all day, where the answer is "nothing new".

        Computing that takes a third of a world's time. Anything else is None, and goes to the real store.
        """
        if work is outbox.read_due:
            waits = "SELECT 1 FROM outbox WHERE settled_at IS NULL AND proxy_id = ? LIMIT 1"
            return None if self.query(waits, args[1]) else (self._stage.now(), ())
        if work is history.follow:
            is_new = self.query("SELECT 1 FROM transitions WHERE id > ? LIMIT 1", kwargs["after_id"])
            return None if is_new else ()
        return self._held_lease() if work is lease.load else None

    def _held_lease(self) -> Lease | None:
        for holder, token, until in self.query("SELECT holder, token, expires_at FROM lease"):
            expires_at, now = (
                datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (until, self._shared.clock())
            )
            return Lease(Claim(holder, token), expires_at, now) if expires_at > now else None
        return None

    def commits_of_others(self, process: Process) -> int:
        return self._commits.total() - self._commits[process.name]

    def back_up(self) -> sqlite3.Connection:
        return copy_of(self._shared.raw)

    def restore(self, backup: sqlite3.Connection) -> None:
        backup.backup(self._shared.raw)

    def expand(self, table: str) -> None:
        """Add a column of which the code in this world knows nothing, as a step of a newer migration does."""
        self._shared.raw.execute(f"ALTER TABLE {table} ADD COLUMN of_a_newer_one TEXT NOT NULL DEFAULT ''")

    @contextmanager
    def used_by(self, process: Process, work: str) -> Iterator[Database]:
        self._client, self._work = process, work
        try:
            yield self._shared.database
        finally:
            self._client = None

    def _failpoint(self, name: str) -> None:
        assert self._client is not None
        if name == "commit.after":
            self._commits[self._client.name] += 1
            self.on_commit()
        self._stage.touch(self._client, f"{self._work}: {name}", self._stage.chance.weather.crash_at_commit)


class DatabaseOfProcess:
    """What a process takes for its database: the real one, at the other end of a wire."""

    def __init__(self, storage: Storage, process: Process, stage: Stage) -> None:
        self._storage = storage
        self._process = process
        self._stage = stage

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        name = _name(work, args)
        await self._arrive(f"write {name}")
        with self._storage.used_by(self._process, name) as database:
            result = await database.write(work, *args, **kwargs)
        await self._stage.cross(self._process, f"written {name}")
        return result

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        idle = None if self._storage.is_down else self._storage.answer_idle(work, args, kwargs)
        if idle is not None:
            self._stage.touch(self._process, f"read {_name(work)}", self._stage.chance.weather.crash_at_await)
            return idle
        await self._arrive(f"read {_name(work)}")
        with self._storage.used_by(self._process, _name(work)) as database:
            result = await database.read(work, *args, **kwargs)
        await self._stage.cross(self._process, f"has read {_name(work)}")
        return result

    async def foreign_version(self) -> int | None:
        """Return a number that changes when another process commits, as SQLite's does for each connection."""
        self._process.check()
        return self._storage.commits_of_others(self._process)

    async def dispose(self) -> None:
        """The database stays."""

    async def _arrive(self, place: str) -> None:
        await self._stage.cross(self._process, place)
        if self._storage.is_down:
            raise DatabaseUnavailableError("the database is down")


def _name(work: Callable[..., Any], args: tuple[Any, ...] = ()) -> str:
    """Return the name of the store's function; also of one that runs within a transaction that proves the lease."""
    inner = [cell.cell_contents for arg in args for cell in getattr(arg, "__closure__", None) or ()]
    named = next((value for value in inner if callable(value) and hasattr(value, "__name__")), work)
    return getattr(named, "__name__", type(named).__name__)
