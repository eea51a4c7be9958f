"""Every migration test runs on an empty SQLite and an empty Postgres."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes import postgres


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path / 'penstock.db'}"
        else:
            server: postgres.Server = request.getfixturevalue("postgres_server")
            yield stack.enter_context(server.database())
