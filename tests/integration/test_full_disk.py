"""A controller whose database has no room left: it says so, waits, and loses nothing."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.store import migrate
from tests.chaos import places
from tests.chaos.part import Part
from tests.fakes import postgres
from tests.fakes.broker import Mosquitto
from tests.fakes.controller_process import Controller, controllers
from tests.fakes.mqtt import Source, until
from tests.fakes.ports import free_port
from tests.fakes.proxy import FakeProxy

MEGABYTES = {"sqlite": 8, "postgres": 96}
BEFORE = tuple(f"early-{number}" for number in range(3))
KEYS = tuple(f"cam-{number}" for number in range(30))
QUICK = {"lease_seconds": "3", "lease_renew_seconds": "1"}


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str) -> Iterator[places.Disk]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-disk-"))  # the user of Postgres can enter it
    folder.chmod(0o755)
    try:
        with places.disk(folder, MEGABYTES[kind]) as made:
            if made.reason:
                pytest.skip(made.reason)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def supervised_postgres(disk: places.Disk, log: Path) -> AsyncIterator[tuple[str, Part]]:
    """Run a server whose files all lie on the disk, its log of changes too, and start it again whenever it ends."""
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip(postgres.INSTALL)
    port = free_port()
    await asyncio.to_thread(postgres.create, binaries, disk.folder)
    part = Part("postgres", postgres.command(binaries, disk.folder, port), log, goodbye=signal.SIGINT)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(part.run())
        try:
            await until(lambda: postgres.answers(url), "Postgres has started")
            yield url, part
        finally:
            running.cancel()


@pytest.fixture
async def database(kind: str, disk: places.Disk, tmp_path: Path) -> AsyncIterator[tuple[str, Part | None]]:
    """Yield the URL of a migrated database on the disk, and its server where it has one."""
    if kind == "sqlite":
        url = f"sqlite:///{disk.folder / 'penstock.db'}"
        migrate.upgrade(url)
        yield url, None
        return
    async with supervised_postgres(disk, tmp_path / "postgres.log") as (url, server):
        await asyncio.to_thread(migrate.upgrade, url)
        yield url, server


@pytest.fixture
async def controller(
    tmp_path: Path, database: tuple[str, Part | None], broker: Mosquitto, p1: FakeProxy
) -> AsyncIterator[Controller]:
    mqtt_url = f"mqtt://127.0.0.1:{broker.port}"
    given = {**QUICK, "database_url": database[0], "mqtt_url": mqtt_url, "proxies": p1.url, "control_token": p1.token}
    async with controllers(tmp_path, "one", **given) as [made]:
        await made.start()
        await until(made.leads, "it leads")
        yield made


async def test_a_full_disk_is_waited_for_and_costs_no_event(
    controller: Controller, disk: places.Disk, broker: Mosquitto, database: tuple[str, Part | None]
):
    source = Source(broker.port)

    async def shows(*keys: str) -> bool:
        return await controller.states() == dict.fromkeys(keys, "LIVE")

    def delays() -> list[str]:
        return [line["reason"] for line in controller.events() if line["event"] == "mqtt.record_delayed"]

    for key in BEFORE:
        await source.start(key, 1, 1)
    await until(lambda: shows(*BEFORE), "what comes before runs")
    disk.fill()
    for key in KEYS:
        await source.start(key, 1, 1)
    await until(lambda: bool(delays()), "what does not fit is waited for")
    assert "full" in delays()[0] or "No space left" in delays()[0]

    status, told = await controller.ask("POST", "/streams", {"key": "by-hand", "upstreams": ["demo:"]})
    assert status in {201, 503}, told  # one row may still fit in; then it has to be there for good
    accepted = ["by-hand"] if status == 201 else []
    server = database[1]
    if server is not None:
        # There rows that were there can still be changed, so that it goes on leading.
        async def tells() -> bool:
            status, ready = await controller.ask("GET", "/readyz")
            is_told = ready["database"]["detail"].startswith("recording delayed since ")
            return is_told and (status, ready["ready"], ready["is_leader"]) == (200, True, True)

        await until(tells, "readyz of the leader tells that recording waits, and answers all the same")
        # Now the server dies as well, and finds no room to come back.
        server.send_signal(signal.SIGKILL)
        await until(lambda: server.starts > 1, "it is started again")

    async def is_unready() -> bool:
        return not (await controller.ready()).get("ready", True)

    await until(is_unready, "nothing at all can be written, and readyz tells it")
    disk.clear()
    await until(controller.leads, "it leads again")
    await until(lambda: shows(*BEFORE, *KEYS, *accepted), "all that was said runs")
    assert (await controller.ready())["database"] == {"ok": True, "detail": ""}
    _, quarantined = await controller.ask("GET", "/quarantine")
    assert quarantined["items"] == []
    assert not {line["event"] for line in controller.events()} & {"mqtt.record_refused", "mqtt.message_unrecordable"}
