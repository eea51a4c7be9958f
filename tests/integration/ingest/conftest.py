"""A real broker, a real database, and a source that publishes by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.store import migrate
from controller.store.engine import Database
from tests.fakes.broker import MISSING, MOSQUITTO, Mosquitto
from tests.fakes.mqtt import Source


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip(MISSING)
    broker = Mosquitto(tmp_path)
    await broker.start()
    yield broker
    broker.stop(kill=True)


@pytest.fixture
def source(mosquitto: Mosquitto) -> Source:
    return Source(mosquitto.port)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'penstock.db'}"
    migrate.upgrade(url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.dispose()
