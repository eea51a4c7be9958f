"""Whole machines: real processes, a real broker, real media."""

import shutil

import pytest

from tests.fakes import broker, machine, origin

GRACES = {
    "PENSTOCK_START_GRACE_SECONDS": "2",
    "PENSTOCK_STOP_GRACE_SECONDS": "2",
    "PENSTOCK_ORPHAN_GRACE_SECONDS": "2",
    "PENSTOCK_RESYNC_SECONDS": "1",
    "PENSTOCK_FLOW_GRACE_SECONDS": "3",
}


@pytest.fixture
async def mosquitto(tmp_path):
    if broker.MOSQUITTO is None:
        pytest.skip(broker.MISSING)
    home = tmp_path / "broker"
    home.mkdir()
    server = broker.Mosquitto(home)
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def station(tmp_path, mosquitto):
    """A machine on a real mosquitto, with graces of two seconds."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    async with machine.machine(data, mqtt_port=mosquitto.port, environment=GRACES) as running:
        yield running


@pytest.fixture
async def upstream():
    if origin.FFMPEG is None or shutil.which("ffprobe") is None:
        pytest.skip(origin.MISSING)
    async with origin.origin() as served:
        yield served
