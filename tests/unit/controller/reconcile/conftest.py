"""A real SQLite database, and proxies that speak the control API over real HTTP without moving media."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from controller.proxy_client import http_session
from controller.store.engine import Database
from tests.fakes.api_world import open_database
from tests.fakes.control_room import TOKEN, ControlRoom, client_of
from tests.fakes.proxy import FakeProxy, fake_proxy


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(tmp_path)
    yield opened
    await opened.dispose()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session() as session:
        yield session


@pytest.fixture
async def p1() -> AsyncIterator[FakeProxy]:
    async with fake_proxy("p1", token=TOKEN) as proxy:
        yield proxy


@pytest.fixture
async def p2() -> AsyncIterator[FakeProxy]:
    async with fake_proxy("p2", token=TOKEN) as proxy:
        yield proxy


@pytest.fixture
async def room(database: Database, http: aiohttp.ClientSession, p1: FakeProxy) -> ControlRoom:
    """A control loop with one proxy."""
    return await ControlRoom.open(database, [client_of(http, p1.url)])
