"""Engines and transactions: how a plain function on a ``Session`` runs. The only file that knows SQLite from Postgres.

One call of :meth:`Database.write` or :meth:`Database.read` is one transaction. Reads see one snapshot. Writes run one
at a time, on both databases and across processes: SQLite by ``BEGIN IMMEDIATE``, Postgres by an advisory lock taken as
the first statement of the transaction. So a writer may read, decide and write without losing anybody's update, and ids
grow in the order of commits, which a reader that follows a table by id relies on. Throughput comes from batches.

A commit is durable: SQLite runs with ``synchronous=FULL``, so that what was acknowledged survives a power cut as well
as ``kill -9``. ``NORMAL`` survives the latter only, and is a setting.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Table,
    create_engine,
    delete,
    event,
    func,
    make_url,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from controller.errors import DatabaseError, DatabaseUnavailableError, StartupError
from controller.store import columns

P = ParamSpec("P")
T = TypeVar("T")

Executor = Literal["threads", "inline"]
Synchronous = Literal["FULL", "NORMAL"]

LOCK_WAIT_SECONDS = 10.0
"""How long a writer waits for its turn before the attempt counts as failed."""

STATEMENT_SECONDS = 30.0
"""How long one statement, or a transaction that does nothing, may last on Postgres."""

MIGRATION_SECONDS = 600.0
"""The same for a step of the schema."""

CONNECT_SECONDS = 5

CALL_SECONDS = 60.0
"""How long a call may last in all, waiting and attempts included."""

CLOSE_SECONDS = 10.0

ATTEMPTS = 5
BACKOFF_SECONDS = 0.02
"""Before the second attempt; doubled before each further one."""

WAITING_MAX = 1024
"""Calls that may be under way or wait for a thread. More are refused: the database is not keeping up."""

SQLITE_CACHE_KIB = 16_384

VALUES_PER_STATEMENT = 400
"""How many values one IN may list. SQLite before 3.32 takes 999 in all, and a pair counts twice."""

WRITER_LOCK = 0x50454E53
"""The advisory lock every writer holds on Postgres: "PENS"."""

SQLITE_BUSY, SQLITE_LOCKED = 5, 6
# https://www.postgresql.org/docs/15/errcodes-appendix.html: serialization failure, deadlock, lock not available.
POSTGRES_RETRYABLE = frozenset({"40001", "40P01", "55P03"})
# Classes 08 (connection), 53 (resources) and 57 (operator intervention: shutdown, cancelled by timeout).
POSTGRES_UNAVAILABLE = ("08", "53", "57")


class Database:
    """One database, by its URL (``sqlite:///path``, ``sqlite://`` in memory, ``postgresql://...``)."""

    def __init__(
        self,
        url: str,
        *,
        readers: int = 4,
        executor: Executor = "threads",
        synchronous: Synchronous = "FULL",
        failpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        parsed = parse_url(url)
        self._is_inline = executor == "inline"
        self._failpoint = failpoint
        self._calls = 0
        self._is_closed = False
        self._writer, self._reader = _build_engines(parsed, readers, synchronous)
        self._write_threads = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        # A database in memory is one connection, so that one thread has to serve all.
        shares_one = self._writer is self._reader
        self._read_threads = (
            self._write_threads if shares_one else ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        )

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction of its own, alone among the writers, and commit.

        ``work`` may run more than once: it must have no effect but on its session. A caller that is cancelled does not
        stop it: whether it was committed is then unknown, as after a crash.

        Raises:
            DatabaseUnavailableError: not reached, or busy for too long. The result may be unknown.
            DatabaseError: the database refused it; nothing is written.
        """
        return await self._call(self._write_threads, self._write_once, functools.partial(_invoke, work, args, kwargs))

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one snapshot of the database. Nothing that it writes is kept. Raises as ``write`` does."""
        return await self._call(self._read_threads, self._read_once, functools.partial(_invoke, work, args, kwargs))

    async def dispose(self) -> None:
        """Finish what is under way and close every connection. Later calls are refused."""
        self._is_closed = True
        for threads in {self._write_threads, self._read_threads}:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await asyncio.to_thread(threads.shutdown)
        self._writer.dispose()
        self._reader.dispose()

    async def _call(
        self, threads: ThreadPoolExecutor, once: Callable[[Callable[[Session], T]], T], work: Callable[[Session], T]
    ) -> T:
        if self._is_closed:
            raise DatabaseUnavailableError("the database is closed")
        if self._calls >= WAITING_MAX:
            raise DatabaseUnavailableError(f"{WAITING_MAX} calls wait for the database")
        self._calls += 1
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._retry(threads, functools.partial(once, work))
        except TimeoutError as late:
            raise DatabaseUnavailableError(f"no answer within {CALL_SECONDS:.0f} s") from late
        finally:
            self._calls -= 1

    async def _retry(self, threads: ThreadPoolExecutor, attempt: Callable[[], T]) -> T:
        for tries_left in reversed(range(ATTEMPTS)):
            try:
                if self._is_inline:
                    return attempt()
                return await asyncio.get_running_loop().run_in_executor(threads, attempt)
            except _TransientError as error:
                if not tries_left:
                    raise DatabaseUnavailableError(error.detail) from error
            await asyncio.sleep(BACKOFF_SECONDS * 2 ** (ATTEMPTS - tries_left - 1))
        raise AssertionError

    def _write_once(self, work: Callable[[Session], T]) -> T:
        is_committing = False
        with _translated(lambda: is_committing), Session(self._writer, expire_on_commit=False) as session:
            result = work(session)
            self._failpoint("commit.before")
            is_committing = True
            session.commit()
        self._failpoint("commit.after")
        return result

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with _translated(lambda: False), Session(self._reader, expire_on_commit=False) as session:
            return work(session)


def _invoke(work: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any], session: Session) -> T:
    return work(session, *args, **kwargs)


# Errors


class _TransientError(Exception):
    """Nothing was written, and the same again may succeed."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@contextlib.contextmanager
def _translated(is_committing: Callable[[], bool]) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and the drivers into ours."""
    try:
        yield
    except DBAPIError as error:
        detail = f"{type(error.orig).__name__}: {error.orig}"
        if _is_conflict(error):
            raise _TransientError(detail) from error
        if error.connection_invalidated or _is_unavailable(error):
            if is_committing():
                raise DatabaseUnavailableError(f"cut off while committing; the result is unknown: {detail}") from error
            raise _TransientError(detail) from error
        raise DatabaseError(detail) from error
    except (SQLAlchemyError, OverflowError, UnicodeError) as error:
        # The last two come from the drivers as they are: a value that no column can hold.
        raise DatabaseError(f"{type(error).__name__}: {error}") from error


def _is_conflict(error: DBAPIError) -> bool:
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in POSTGRES_RETRYABLE


def _is_unavailable(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlite_errorcode", None) is not None:
        return False
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:
        # libpq could not connect, or lost the server without a word from it.
        return isinstance(error, OperationalError)
    return sqlstate.startswith(POSTGRES_UNAVAILABLE)


# Engines


def parse_url(url: str) -> URL:
    """Read a database URL; name the driver when it does not.

    Raises:
        StartupError: it cannot be read, or names another kind of database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartupError("the database URL cannot be read") from error
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return parsed
        case "postgres" | "postgresql" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise StartupError(f"the database URL names {other!r}; it must be sqlite or postgresql")


def build_engine(
    url: URL,
    *,
    is_writer: bool,
    pool_size: int = 1,
    synchronous: Synchronous = "FULL",
    for_schema: bool = False,
) -> Engine:
    """Build the engine of the writer (each transaction is alone) or of the readers (each is a snapshot).

    ``for_schema`` is for migrations: they may last, and they rebuild tables that others refer to.
    """
    if url.get_backend_name() == "sqlite":
        pragmas = {"journal_mode": "WAL", "synchronous": synchronous, "foreign_keys": "OFF" if for_schema else "ON"}
        return _build_sqlite(url, is_writer, pool_size, pragmas)
    return _build_postgres(url, is_writer, pool_size, MIGRATION_SECONDS if for_schema else STATEMENT_SECONDS)


def _build_engines(url: URL, readers: int, synchronous: Synchronous) -> tuple[Engine, Engine]:
    writer = build_engine(url, is_writer=True, synchronous=synchronous)
    if isinstance(writer.pool, StaticPool):
        return writer, writer
    return writer, build_engine(url, is_writer=False, pool_size=readers, synchronous=synchronous)


def _build_sqlite(url: URL, is_writer: bool, pool_size: int, pragmas: Mapping[str, str]) -> Engine:
    # isolation_level=None keeps the driver from beginning transactions by itself (and too late to lose no update).
    connect_args = {"check_same_thread": False, "isolation_level": None, "timeout": LOCK_WAIT_SECONDS}
    if url.database in (None, "", ":memory:"):
        engine = create_engine(url, poolclass=StaticPool, connect_args=connect_args, json_serializer=columns.dump_json)
    else:
        engine = create_engine(
            url, pool_size=pool_size, max_overflow=0, connect_args=connect_args, json_serializer=columns.dump_json
        )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for name, value in pragmas.items():
            cursor.execute(f"PRAGMA {name} = {value}")
        cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    begin = "BEGIN IMMEDIATE" if is_writer else "BEGIN"

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _build_postgres(url: URL, is_writer: bool, pool_size: int, seconds_max: float) -> Engine:
    # A migration waits for the one that another process runs.
    lock_seconds = LOCK_WAIT_SECONDS if seconds_max == STATEMENT_SECONDS else seconds_max
    limits = {
        "timezone": "UTC",
        "lock_timeout": f"{lock_seconds * 1000:.0f}",
        "statement_timeout": f"{seconds_max * 1000:.0f}",
        # A writer that hangs gives its turn back.
        "idle_in_transaction_session_timeout": f"{seconds_max * 1000:.0f}",
    }
    connect_args = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "penstock",
        "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        # A server that vanished without a word is noticed by TCP.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=0, connect_args=connect_args, json_serializer=columns.dump_json
    )
    if not is_writer:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @event.listens_for(engine, "begin")
    def take_turn(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

    return engine


def parts(values: Iterable[T], size: int = VALUES_PER_STATEMENT) -> Iterator[list[T]]:
    """Cut distinct values into portions that fit into one statement, in a steady order."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), size):
        yield distinct[start : start + size]


def prune_by_id(
    session: Session, table: Table, time: ColumnElement[datetime], *, before: datetime, keep_max: int, limit: int
) -> int:
    """Delete the oldest rows of a table with a rising id: those before a time, and those beyond ``keep_max``.

    At most ``limit``, so that one call stays short; returns how many.
    """
    nth = select(table.c.id).order_by(table.c.id.desc()).offset(keep_max).limit(1)
    beyond = session.execute(nth).scalar_one_or_none()
    is_old = time < before if beyond is None else or_(time < before, table.c.id <= beyond)
    doomed = session.execute(select(table.c.id).where(is_old).order_by(table.c.id).limit(limit)).scalars().all()
    for part in parts(doomed):
        session.execute(delete(table).where(table.c.id.in_(part)))
    return len(doomed)


# What is spelled differently


def db_now(session: Session) -> datetime:
    """Return the time by the database's clock, which all controllers share."""
    if _is_sqlite(session):
        text: str = session.execute(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now"))).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)


def has_item(session: Session, column: ColumnElement[Any], name: str, value: str) -> ColumnElement[bool]:
    """Ask whether a JSON object of texts has an item. Unlike a JSON path, this takes any name."""
    items = func.json_each(column) if _is_sqlite(session) else func.json_each_text(column)
    item = items.table_valued("key", "value")
    return select(item.c.key).where(item.c.key == name, item.c.value == value).exists()


def upsert(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keep: Sequence[str] = (),
    newer: str | None = None,
) -> None:
    """Insert rows; where the primary key is taken, overwrite all columns but ``keep``.

    With ``newer``, a row is overwritten only by one with a higher value in that column.
    """
    if rows:
        session.execute(_upsert_statement(_is_sqlite(session), table, tuple(keep), newer), list(rows))


@functools.cache
def _upsert_statement(is_sqlite: bool, table: Table, keep: tuple[str, ...], newer: str | None) -> Executable:
    insert = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = [column.name for column in table.columns if column.name not in keys and column.name not in keep]
    return insert.on_conflict_do_update(
        index_elements=keys,
        set_={name: insert.excluded[name] for name in changed},
        where=None if newer is None else table.c[newer] < insert.excluded[newer],
    )


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
