"""A real broker, and a proxy of the tests, for controllers that are processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.broker import MISSING, MOSQUITTO, Mosquitto
from tests.fakes.proxy import FakeProxy, fake_proxy


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip(MISSING)
    made = Mosquitto(tmp_path)
    await made.start()
    yield made
    made.stop(kill=True)


@pytest.fixture
async def p1() -> AsyncIterator[FakeProxy]:
    async with fake_proxy("p1", token="x" * 32) as proxy:
        yield proxy
