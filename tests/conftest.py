"""What tests of several folders share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.fakes import postgres

# How long one example takes says how busy the machine is; what a test may take says pytest's own time-out.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One Postgres for the whole session; every test takes a database of its own in it."""
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip(postgres.INSTALL)
    with postgres.run(binaries) as server:
        yield server
