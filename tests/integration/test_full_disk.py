"""A controller whose database has no room left: it says so, and loses nothing."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controller.store import migrate
from tests.chaos import places
from tests.fakes.broker import Mosquitto
from tests.fakes.controller_process import Controller, controllers
from tests.fakes.mqtt import Source, until
from tests.fakes.proxy import FakeProxy

MEGABYTES = 8
KEYS = tuple(f"cam-{number}" for number in range(30))
QUICK = {"lease_seconds": "3", "lease_renew_seconds": "1"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[places.Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with places.disk(folder, MEGABYTES) as made:
        if made.reason:
            pytest.skip(made.reason)
        yield made


@pytest.fixture
async def controller(tmp_path: Path, disk: places.Disk, broker: Mosquitto, p1: FakeProxy) -> AsyncIterator[Controller]:
    url = f"sqlite:///{disk.folder / 'penstock.db'}"
    migrate.upgrade(url)
    mqtt_url = f"mqtt://127.0.0.1:{broker.port}"
    given = {**QUICK, "database_url": url, "mqtt_url": mqtt_url, "proxies": p1.url, "control_token": p1.token}
    async with controllers(tmp_path, "one", **given) as [made]:
        await made.start()
        await until(made.leads, "it leads")
        yield made


async def test_a_full_disk_is_told_and_costs_no_event(controller: Controller, disk: places.Disk, broker: Mosquitto):
    source = Source(broker.port)
    disk.fill()
    for key in KEYS:
        await source.start(key, 1, 1)

    async def is_unready() -> bool:
        return not (await controller.ready()).get("ready", True)

    await until(is_unready, "readyz tells it")
    disk.clear()
    await until(controller.leads, "it leads again")

    async def shows_all() -> bool:
        return await controller.states() == dict.fromkeys(KEYS, "LIVE")

    await until(shows_all, "all that was said runs")
    _, quarantined = await controller.ask("GET", "/quarantine")
    assert quarantined["items"] == []
    assert not {line["event"] for line in controller.events()} & {"mqtt.record_refused", "mqtt.message_unrecordable"}
