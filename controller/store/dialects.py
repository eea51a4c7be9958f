"""SQLite and Postgres: how each is opened, takes turns, fails and spells things. Nobody else tells them apart.

Writers are alone, on both and across processes: SQLite by ``BEGIN IMMEDIATE`` (its driver would begin too late, and
lose updates), Postgres by an advisory lock taken as the first statement of the transaction. Readers see one snapshot.
"""

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from controller.errors import StartupError
from controller.store import bulk, columns

Synchronous = Literal["FULL", "NORMAL"]

LOCK_WAIT_SECONDS = 10.0
"""How long a writer waits for its turn before the attempt counts as failed."""

STATEMENT_SECONDS = 30.0
"""How long one statement may last on Postgres."""

IDLE_SECONDS = 5.0
"""How long a writing transaction may do nothing on Postgres: a process stopped within one holds up all writers."""

MIGRATION_SECONDS = 600.0
"""How long a step of the schema may last, and wait."""

CONNECT_SECONDS = 5

SQLITE_CACHE_KIB = 16_384

WRITER_LOCK = 0x50454E53
"""The advisory lock every writer holds on Postgres: "PENS"."""

SQLITE_BUSY, SQLITE_LOCKED = 5, 6
# https://sqlite.org/rescode.html: a disk that fails, is full, or takes no new file.
SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN = 10, 13, 14
# https://www.postgresql.org/docs/15/errcodes-appendix.html: serialization failure, deadlock, lock not available, and a
# transaction that was ended because it did nothing: also when its commit is told so, it was not committed.
POSTGRES_RETRYABLE = frozenset({"40001", "40P01", "55P03", "25P03"})
# Classes 08 (connection), 53 (resources: 53100 is a full disk), 57 (operator intervention: shutdown, cancelled by
# timeout) and 58 (the system: a file that cannot be read or written).
POSTGRES_UNAVAILABLE = ("08", "53", "57", "58")


# Opening


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


# Rows hold credentials: no error may quote them.
_COMMON: Mapping[str, Any] = {
    "json_serializer": columns.dump_json,
    "json_deserializer": from_json,
    "hide_parameters": True,
}


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
    if for_schema:
        limits = _limits(lock=MIGRATION_SECONDS, statement=MIGRATION_SECONDS, idle=MIGRATION_SECONDS)
    else:
        idle = IDLE_SECONDS if is_writer else STATEMENT_SECONDS
        limits = _limits(lock=LOCK_WAIT_SECONDS, statement=STATEMENT_SECONDS, idle=idle)
    return _build_postgres(url, is_writer, pool_size, limits)


def _build_sqlite(url: URL, is_writer: bool, pool_size: int, pragmas: Mapping[str, str]) -> Engine:
    # isolation_level=None keeps the driver from beginning transactions by itself (and too late to lose no update).
    connect_args = {"check_same_thread": False, "isolation_level": None, "timeout": LOCK_WAIT_SECONDS}
    if url.database in (None, "", ":memory:"):
        engine = create_engine(url, poolclass=StaticPool, connect_args=connect_args, **_COMMON)
    else:
        engine = create_engine(url, pool_size=pool_size, max_overflow=0, connect_args=connect_args, **_COMMON)

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


def _limits(*, lock: float, statement: float, idle: float) -> Mapping[str, str]:
    """Return what the server is told to end by itself, by times in seconds."""
    return {
        "timezone": "UTC",
        "lock_timeout": f"{lock * 1000:.0f}",
        "statement_timeout": f"{statement * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{idle * 1000:.0f}",
    }


# A server that vanished without a word is noticed by TCP.
_KEEPALIVES: Mapping[str, int] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def _build_postgres(url: URL, is_writer: bool, pool_size: int, limits: Mapping[str, str]) -> Engine:
    connect_args = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "penstock",
        "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        **_KEEPALIVES,
    }
    engine = create_engine(url, pool_size=pool_size, max_overflow=0, connect_args=connect_args, **_COMMON)
    if not is_writer:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @event.listens_for(engine, "begin")
    def take_turn(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

    return engine


# Failing


def describe(error: DBAPIError) -> str:
    """Say what went wrong, without the row it went wrong with."""
    diagnosis = getattr(error.orig, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error.orig)
    return f"{type(error.orig).__name__}: {text}"


def is_conflict(error: DBAPIError) -> bool:
    """Whether others were in the way: the same again may succeed."""
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in POSTGRES_RETRYABLE


def is_unavailable(error: DBAPIError) -> bool:
    """Whether the database could not be reached, has gone away, or has no room: another time may be better."""
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in (SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN)
    sqlstate: str | None = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:
        # libpq could not connect, or lost the server without a word from it.
        return isinstance(error, OperationalError)
    return sqlstate.startswith(POSTGRES_UNAVAILABLE)


# Other processes on the same database


def listening_address(url: str) -> str | None:
    """Return what a driver connects to in order to hear notifications; None where there are none."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return None
    given = {
        "application_name": "penstock",
        "connect_timeout": CONNECT_SECONDS,
        **_KEEPALIVES,
        **parsed.query,
    }
    query = {name: value if isinstance(value, tuple) else str(value) for name, value in given.items()}
    return parsed.set(drivername="postgresql", query=query).render_as_string(hide_password=False)


def notify(session: Session, channel: str, payload: str) -> None:
    """Tell whoever listens, with the commit. Nothing on SQLite, where others see the commit itself."""
    if not _is_sqlite(session):
        session.execute(select(func.pg_notify(channel, payload)))


def foreign_version(writer: Engine) -> int | None:
    """Return a number that changes when another process commits; None where others tell.

    Through this engine go all commits of this process, and SQLite leaves those of the same connection out.
    """
    if writer.dialect.name != "sqlite":
        return None
    connection = writer.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA data_version")
        (version,) = cursor.fetchone() or (None,)
        cursor.close()
        return version
    finally:
        connection.close()


# What is spelled differently


def db_now(session: Session) -> datetime:
    """Return the time by the database's clock, which all controllers share."""
    if _is_sqlite(session):
        text: str = session.execute(_SQLITE_NOW).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    now: datetime = session.execute(_POSTGRES_NOW).scalar_one()
    return now.astimezone(UTC)


_SQLITE_NOW = select(func.strftime("%Y-%m-%dT%H:%M:%f", "now"))
_POSTGRES_NOW = select(func.clock_timestamp())


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
        bulk.execute(session, _upsert_statement(_is_sqlite(session), table, tuple(keep), newer), rows)


@functools.cache
def _upsert_statement(is_sqlite: bool, table: Table, keep: tuple[str, ...], newer: str | None) -> Insert:
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
