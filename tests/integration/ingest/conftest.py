"""A real broker, a real database, and a source that publishes by hand."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controller.store import migrate
from controller.store.engine import Database
from tests.fakes.broker import MISSING, MOSQUITTO, Mosquitto
from tests.fakes.mqtt import Source


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Brokers with other settings than the shipped ones; not started yet, and ended with the test."""
    if MOSQUITTO is None:
        pytest.skip(MISSING)
    made: list[Mosquitto] = []

    def make(changes: dict[str, str] | None = None) -> Mosquitto:
        made.append(Mosquitto(tmp_path, changes=changes))
        return made[-1]

    yield make
    for broker in made:
        broker.stop(kill=True)


@pytest.fixture
async def mosquitto(make_broker: Callable[..., Mosquitto]) -> Mosquitto:
    broker = make_broker()
    await broker.start()
    return broker


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
