"""The API around a real SQLite database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.store.engine import Database
from tests.fakes.api_world import World, open_database
from tests.fakes.asgi import Client


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(tmp_path)
    yield opened
    await opened.dispose()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def client(world: World) -> Client:
    return world.client
