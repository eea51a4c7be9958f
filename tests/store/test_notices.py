"""Controllers on one database hear of one another's commits: by NOTIFY on Postgres, by looking on SQLite."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import structlog

from controller.domain.model import Key, SourceId
from controller.store import counters, lease, notices
from controller.store.engine import Database
from controller.store.notices import EVERYTHING, Notice
from controller.store.term import Pace
from tests.fakes.mqtt import until


class Hearer:
    """A controller that only listens and tells."""

    def __init__(self, url: str, name: str) -> None:
        self.database = Database(url)
        self.heard: list[Notice] = []
        self.notices = notices.between(self.database, url, origin=name, heard=self.heard.append)

    async def has_heard(self, notice: Notice) -> bool:
        return notice in self.heard


@pytest.fixture
def is_postgres(url: str) -> bool:
    return url.startswith("postgres")


@asynccontextmanager
async def listening(url: str, *names: str) -> AsyncIterator[list[Hearer]]:
    hearers = [Hearer(url, name) for name in names]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hearer.notices.run()) for hearer in hearers]
        if url.startswith("postgres"):
            for hearer in hearers:
                await until(lambda hearer=hearer: hearer.has_heard(EVERYTHING), "it listens")
        else:
            await asyncio.sleep(0.2)  # until each has looked once
        for hearer in hearers:
            hearer.heard.clear()
        yield hearers
        for task in tasks:
            task.cancel()
    for hearer in hearers:
        await hearer.database.dispose()


async def test_a_commit_of_one_is_heard_by_the_others_and_not_by_itself(url: str, is_postgres: bool):
    told = Notice(frozenset({Key("cam-7")}), frozenset({SourceId("enc-1")}))
    async with listening(url, "a", "b", "c") as (a, b, c):
        for _ in range(3):
            await a.database.write(counters.raise_token)
        a.notices.tell(told)
        expected = told if is_postgres else EVERYTHING
        for other in (b, c):
            await until(lambda other=other: other.has_heard(expected), "heard")
        await asyncio.sleep(0 if is_postgres else notices.LOOK_SECONDS)
        assert a.heard == []


async def test_a_lease_that_is_given_back_is_heard_of(url: str):
    async with listening(url, "a", "b") as (a, b):
        taken = await a.database.write(lease.acquire, "a", Pace().ttl)
        await a.database.write(lease.release, taken.claim)
        await until(lambda: any(notice.about_lease for notice in b.heard), "heard")


async def test_what_is_told_together_is_told_once_and_many_keys_are_all(url: str, is_postgres: bool):
    if not is_postgres:
        pytest.skip("SQLite tells only that something is new")
    async with listening(url, "a", "b") as (a, b):
        for number in range(5):
            a.notices.tell(Notice(frozenset({Key(f"cam-{number}")})))
        a.notices.tell(Notice(about_lease=True))
        await until(lambda: bool(b.heard), "heard")
        assert b.heard == [Notice(frozenset(Key(f"cam-{number}") for number in range(5)), about_lease=True)]
        a.notices.tell(Notice(frozenset(Key(f"{number:0100}") for number in range(100))))
        await until(lambda: b.has_heard(Notice(keys=None)), "too many to be named")


async def test_who_lost_its_connection_listens_again_and_looks_everywhere(url: str, is_postgres: bool, monkeypatch):
    if not is_postgres:
        pytest.skip("SQLite has no connection to lose")
    monkeypatch.setattr(notices, "RETRY_SECONDS", 0.02)
    async with listening(url, "a", "b") as (a, b):
        with structlog.testing.capture_logs() as lines:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            await until(lambda: b.has_heard(EVERYTHING), "it listens again")
        assert "notices.not_heard" in {line["event"] for line in lines}
        a.notices.tell(Notice(frozenset({Key("cam-7")})))
        await until(lambda: b.has_heard(Notice(frozenset({Key("cam-7")}))), "heard")


async def test_a_notice_that_cannot_be_read_says_that_something_is_new(url: str, is_postgres: bool):
    if not is_postgres:
        pytest.skip("SQLite carries no text")
    async with listening(url, "a") as (a,):
        for payload in ("", "[]", '{"from": 1}', '{"from": "b", "keys": 7, "births": [], "lease": false}'):
            a.heard.clear()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_notify('penstock', %s)", [payload])
            await until(lambda: a.has_heard(EVERYTHING), payload)


async def test_a_database_in_memory_has_no_others():
    database = Database("sqlite://")
    hearer = notices.between(database, "sqlite://", origin="a", heard=lambda _notice: None)
    assert isinstance(hearer, notices.SqliteNotices)
    assert await database.foreign_version() == await database.foreign_version()
    await database.dispose()
