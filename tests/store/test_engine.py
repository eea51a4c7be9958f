import asyncio
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from controller.errors import DatabaseError, DatabaseUnavailableError, StartupError
from controller.store import dialects, engine, tables
from controller.store.engine import Database

COUNTER = tables.counters


def put(session: Session, value: int) -> None:
    dialects.upsert(session, COUNTER, [{"name": "n", "value": value}])


def get(session: Session) -> int | None:
    return session.execute(select(COUNTER.c.value)).scalar_one_or_none()


def increment(session: Session) -> int:
    """Read, decide, write: what loses updates where writers are not alone."""
    value = (get(session) or 0) + 1
    put(session, value)
    return value


async def test_of_100_concurrent_increments_none_is_lost(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    seen = await asyncio.gather(*(databases[n % 4].write(increment) for n in range(100)))
    assert sorted(seen) == list(range(1, 101))
    assert await databases[0].read(get) == 100
    for database in databases:
        await database.dispose()


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def fail(session: Session) -> None:
        put(session, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fail)
    assert await database.read(get) is None


async def test_a_read_keeps_nothing(database: Database, url: str) -> None:
    if url.startswith("sqlite"):
        await database.read(put, 1)
    else:
        with pytest.raises(DatabaseError, match="ReadOnly"):
            await database.read(put, 1)
    assert await database.read(get) is None


async def test_a_read_is_one_snapshot(database: Database) -> None:
    await database.write(put, 1)
    loop = asyncio.get_running_loop()
    written = threading.Event()
    began: asyncio.Future[None] = loop.create_future()

    def read_twice(session: Session) -> tuple[int | None, int | None]:
        first = get(session)
        loop.call_soon_threadsafe(began.set_result, None)
        written.wait(10)
        return first, get(session)

    reading = asyncio.ensure_future(database.read(read_twice))
    await began
    await database.write(put, 2)
    written.set()
    assert await reading == (1, 1)
    assert await database.read(get) == 2


async def test_failpoints_stand_around_the_commit(url: str) -> None:
    names: list[str] = []
    database = Database(url, failpoint=names.append)
    await database.write(put, 1)
    await database.read(get)
    assert names == ["commit.before", "commit.after"]
    await database.dispose()


@pytest.mark.parametrize(("point", "kept"), [("commit.before", None), ("commit.after", 7)])
async def test_a_process_killed_around_the_commit(url: str, point: str, kept: int | None) -> None:
    program = f"""
import asyncio, os, signal
from controller.store import dialects, engine, tables
def die(name):
    if name == {point!r}:
        os.kill(os.getpid(), signal.SIGKILL)
def put(session):
    dialects.upsert(session, tables.counters, [{{"name": "n", "value": 7}}])
asyncio.run(engine.Database({url!r}, failpoint=die).write(put))
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    database = Database(url)
    assert await database.read(get) == kept
    await database.dispose()


async def test_inline_runs_in_the_calling_thread(url: str) -> None:
    database = Database(url, executor="inline")
    assert await database.write(lambda _session: threading.current_thread()) is threading.current_thread()
    await database.write(put, 3)
    assert await database.read(get) == 3
    await database.dispose()


@pytest.mark.parametrize("executor", ["inline", "threads"])
async def test_a_database_in_memory(executor: engine.Executor) -> None:
    database = Database("sqlite://", executor=executor)
    await database.write(tables.create)
    await asyncio.gather(*(database.write(increment) for _ in range(10)))
    assert await asyncio.gather(*(database.read(get) for _ in range(5))) == [10] * 5
    await database.dispose()


async def test_the_clock_is_the_database_s(database: Database) -> None:
    now = await database.read(dialects.db_now)
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


async def test_a_broken_rule_of_the_schema_is_a_database_error(database: Database) -> None:
    def break_rule(session: Session) -> None:
        session.execute(insert(tables.tokens).values(id="t", name="n", role="king", digest="d", created_at=NOW))

    with pytest.raises(DatabaseError, match="ck_tokens_role") as refused:
        await database.write(break_rule)
    assert not isinstance(refused.value, DatabaseUnavailableError)


async def test_an_error_does_not_quote_the_row(database: Database) -> None:
    def break_rule(session: Session, row: dict[str, object]) -> None:
        session.execute(insert(tables.tokens).values(id="t", name="n", digest="s3cret", created_at=NOW, **row))

    # A rule of the schema, a missing value, and a value that no column can take.
    for row in ({"role": "king"}, {"role": None}, {"role": object()}):
        with pytest.raises(DatabaseError) as refused:
            await database.write(break_rule, row)
        assert "s3cret" not in str(refused.value)


async def test_foreign_keys_are_enforced(database: Database) -> None:
    def orphan(session: Session) -> None:
        session.execute(insert(tables.stream_stats).values(stream_id="nobody", slot=0, at=NOW, figures={}))

    with pytest.raises(DatabaseError):
        await database.write(orphan)


NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


async def test_times_keep_their_microseconds_and_their_zone(database: Database) -> None:
    def write(session: Session) -> None:
        row = {"id": "t", "name": "n", "role": "viewer", "digest": "d", "created_at": NOW}
        session.execute(insert(tables.tokens).values(row))

    def read(session: Session) -> datetime:
        at: datetime = session.execute(select(tables.tokens.c.created_at)).scalar_one()
        return at

    await database.write(write)
    found = await database.read(read)
    assert (found, found.tzinfo) == (NOW, UTC)


class TestBusy:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialects, "LOCK_WAIT_SECONDS", 0.05)
        monkeypatch.setattr(engine, "BACKOFF_SECONDS", 0.001)

    async def test_a_writer_that_never_gets_its_turn_is_told(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        first, second = Database(url), Database(url)
        begun: asyncio.Future[None] = loop.create_future()
        release = threading.Event()

        def hold(session: Session) -> None:
            put(session, 1)
            loop.call_soon_threadsafe(begun.set_result, None)
            release.wait(10)

        holding = asyncio.ensure_future(first.write(hold))
        await begun
        with pytest.raises(DatabaseUnavailableError):
            await second.write(put, 2)
        release.set()
        await holding
        await second.write(put, 3)
        assert await second.read(get) == 3
        await first.dispose()
        await second.dispose()

    async def test_it_tries_again_before_it_says_so(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        first, second = Database(url), Database(url)
        begun: asyncio.Future[None] = loop.create_future()
        release = threading.Event()
        refused = threading.Event()

        def hold(session: Session) -> None:
            put(session, 1)
            loop.call_soon_threadsafe(begun.set_result, None)
            release.wait(10)

        attempt = second._write_once

        def notice(work: object) -> object:
            try:
                return attempt(work)
            except Exception:
                refused.set()
                raise

        second._write_once = notice  # to see the first refusal
        holding = asyncio.ensure_future(first.write(hold))
        await begun
        waiting = asyncio.ensure_future(second.write(increment))
        await asyncio.to_thread(refused.wait, 10)
        release.set()
        await holding
        assert await waiting == 2
        await first.dispose()
        await second.dispose()


async def test_a_process_stopped_within_a_transaction_holds_up_the_others_for_a_moment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite's lock is its holder's for as long as it lives")
    monkeypatch.setattr(dialects, "IDLE_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    first, second = Database(url), Database(url)
    begun: asyncio.Future[None] = loop.create_future()
    release = threading.Event()

    def sleep_once(session: Session) -> int:
        value = increment(session)
        if not begun.done():
            loop.call_soon_threadsafe(begun.set_result, None)
            release.wait(10)
        return value

    sleeping = asyncio.ensure_future(first.write(sleep_once))
    await begun
    assert await second.write(increment) == 1
    release.set()
    assert await sleeping == 2, "what it had not committed was gone, and was done again"
    await first.dispose()
    await second.dispose()


async def test_a_lost_connection_is_replaced(database: Database, url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no connection to lose")
    attempts: list[int] = []

    def lose_once(session: Session) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return increment(session)

    assert await database.write(lose_once) == 1
    assert len(attempts) == 2


async def test_a_lost_server_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BACKOFF_SECONDS", 0.001)
    database = Database("postgresql://postgres@127.0.0.1:1/nowhere")
    with pytest.raises(DatabaseUnavailableError):
        await database.read(get)
    await database.dispose()


async def test_calls_beyond_the_limit_are_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WAITING_MAX", 2)
    results = await asyncio.gather(*(database.write(increment) for _ in range(5)), return_exceptions=True)
    assert sorted(r for r in results if isinstance(r, int)) == [1, 2]
    assert sum(isinstance(r, DatabaseUnavailableError) for r in results) == 3
    assert await database.write(increment) == 3


async def test_a_closed_database_refuses(url: str) -> None:
    database = Database(url)
    await database.write(put, 1)
    await database.dispose()
    with pytest.raises(DatabaseUnavailableError, match="closed"):
        await database.read(get)


@pytest.mark.parametrize("url_text", ["mysql://x/y", "nonsense", "sqlite+aiosqlite:///x"])
def test_other_urls_are_refused(url_text: str) -> None:
    with pytest.raises(StartupError):
        dialects.parse_url(url_text)


class TestUpsert:
    async def test_newer_wins(self, database: Database) -> None:
        def write(session: Session, value: int) -> None:
            dialects.upsert(session, COUNTER, [{"name": "n", "value": value}], newer="value")

        for value in (5, 3, 9, 9):
            await database.write(write, value)
        assert await database.read(get) == 9

    async def test_keep_leaves_a_column_alone(self, database: Database) -> None:
        def write(session: Session, url: str, boot_id: str) -> None:
            row = {"id": "p", "url": url, "boot_id": boot_id, "freshness": "fresh", "view": {}, "saved_at": NOW}
            dialects.upsert(session, tables.proxies, [row | {"observed_at": None}], keep=("url",))

        def read(session: Session) -> tuple[str, str]:
            row = session.execute(select(tables.proxies)).one()
            return row.url, row.boot_id

        await database.write(write, "first", "a")
        await database.write(write, "second", "b")
        assert await database.read(read) == ("first", "b")

    async def test_no_rows_are_no_statement(self, database: Database) -> None:
        await database.write(lambda session: dialects.upsert(session, COUNTER, []))
        assert await database.read(get) is None
