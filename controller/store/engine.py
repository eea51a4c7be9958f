"""Transactions: how a plain function on a ``Session`` runs, on threads of the store's own.

One call of :meth:`Database.write` or :meth:`Database.read` is one transaction. Reads see one snapshot. Writes run one
at a time, on both databases and across processes. So a writer may read, decide and write without losing anybody's
update, and ids grow in the order of commits, which a reader that follows a table by id relies on. Throughput comes from
batches.

A commit is durable: SQLite runs with ``synchronous=FULL``, so that what was acknowledged survives a power cut as well
as ``kill -9``. ``NORMAL`` survives the latter only, and is a setting.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from controller.errors import DatabaseError, DatabaseUnavailableError
from controller.store import dialects
from controller.store.dialects import Synchronous

P = ParamSpec("P")
T = TypeVar("T")

Executor = Literal["threads", "inline"]

CALL_SECONDS = 60.0
"""How long a call may last in all, waiting and attempts included."""

CLOSE_SECONDS = 10.0

ATTEMPTS = 5
BACKOFF_SECONDS = 0.02
"""Before the second attempt; doubled before each further one."""

WAITING_MAX = 1024
"""Calls that may be under way or wait for a thread. More are refused: the database is not keeping up."""


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
        parsed = dialects.parse_url(url)
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

    async def foreign_version(self) -> int | None:
        """Return a number that changes when another process commits; None where others tell (Postgres).

        Raises:
            DatabaseError: it cannot be read.
        """
        return await self._retry(self._write_threads, self._foreign_version_once)

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

    def _foreign_version_once(self) -> int | None:
        with _translated(lambda: False):
            return dialects.foreign_version(self._writer)

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with _translated(lambda: False), Session(self._reader, expire_on_commit=False) as session:
            return work(session)


def _invoke(work: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any], session: Session) -> T:
    return work(session, *args, **kwargs)


def _build_engines(url: URL, readers: int, synchronous: Synchronous) -> tuple[Engine, Engine]:
    writer = dialects.build_engine(url, is_writer=True, synchronous=synchronous)
    if isinstance(writer.pool, StaticPool):
        return writer, writer
    return writer, dialects.build_engine(url, is_writer=False, pool_size=readers, synchronous=synchronous)


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
        detail = dialects.describe(error)
        if dialects.is_conflict(error):
            raise _TransientError(detail) from error
        if dialects.is_unavailable(error):
            if is_committing():
                raise DatabaseUnavailableError(f"cut off while committing; the result is unknown: {detail}") from error
            raise _TransientError(detail) from error
        raise DatabaseError(detail) from error
    except (SQLAlchemyError, OverflowError, UnicodeError) as error:
        # The last two come from the drivers as they are: a value that no column can hold.
        raise DatabaseError(f"{type(error).__name__}: {error}") from error
