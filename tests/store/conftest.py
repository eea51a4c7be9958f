"""Every test that asks for a database runs on SQLite and on Postgres."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller.store import migrate
from controller.store.engine import Database
from tests.fakes import postgres


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            address = f"sqlite:///{tmp_path / 'penstock.db'}"
            migrate.upgrade(address)
        else:
            server: postgres.Server = request.getfixturevalue("postgres_server")
            address = stack.enter_context(server.database(migrate.upgrade))
        yield address


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    yield opened
    await opened.dispose()
