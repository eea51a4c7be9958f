"""Every test that asks for a database runs on SQLite and on Postgres."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller.store import migrate
from controller.store.engine import Database
from tests.fakes import postgres


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "penstock.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            template: Path = request.getfixturevalue("migrated_file")
            address = f"sqlite:///{shutil.copy(template, tmp_path)}"
        else:
            server: postgres.Server = request.getfixturevalue("postgres_server")
            address = stack.enter_context(server.database(migrate.upgrade))
        yield address


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    yield opened
    await opened.dispose()
