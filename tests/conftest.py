"""What tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.fakes import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One Postgres for the whole session; every test takes a database of its own in it."""
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip(postgres.INSTALL)
    with postgres.run(binaries) as server:
        yield server
