"""All that Penstock consists of, as processes: broker, database, two controllers, three proxies, an origin and its encoder."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import aiohttp

from controller.store import migrate
from tests.chaos import places, upstream
from tests.chaos.part import Part
from tests.fakes import broker as brokers
from tests.fakes import postgres
from tests.fakes.broker import Mosquitto
from tests.fakes.ports import free_port

Kind = Literal["sqlite", "postgres"]

TOKEN = "t" * 32
START_SECONDS = 90.0
ANSWER_SECONDS = 5.0
LEASE_SECONDS = 3.0
QUICK = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "LEASE_RENEW_SECONDS": "1",
    "RESYNC_SECONDS": "1.5",
    "LIST_TIMEOUT_SECONDS": "1",
    "COMMAND_TIMEOUT_SECONDS": "2",
    "START_GRACE_SECONDS": "2",
    "STOP_GRACE_SECONDS": "2",
    "ORPHAN_GRACE_SECONDS": "4",
    "FLOW_GRACE_SECONDS": "3",
    "LOST_AFTER_SECONDS": "5",
    "MQTT_KEEPALIVE_SECONDS": "3",
}
"""So short that a fault of seconds is one of minutes elsewhere."""

MEGABYTES = {"sqlite": 32, "postgres": 192}
PROXIES = ("p1", "p2", "p3")
CONTROLLERS = ("one", "two")
PROGRAMS = ("ffmpeg", "curl")
"""What the world needs beside a broker and a database."""

APART = (PROXIES[-1], *CONTROLLERS, "broker", "postgres")
"""What has a network namespace of its own, and can be cut off."""


class World:
    """The parts by name, and how to ask them."""

    def __init__(
        self, home: Path, kind: Kind, disk: places.Disk, network: places.Network, tell: Callable[[str], None]
    ) -> None:
        self.home = home
        self.kind = kind
        self.disk = disk
        self.network = network
        self.parts: dict[str, Part] = {}
        self.urls: dict[str, str] = {}
        """Of controllers and proxies."""
        self._tell = tell
        self._http: aiohttp.ClientSession | None = None
        self.broker_home = self._folder("broker")
        self.broker_host = network.of("broker").address
        self.broker_port = 0
        self.upstream_url = ""
        self._database_url = ""

    # Asking

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    async def ask(self, name: str, path: str) -> Any:
        """Get a document of a controller or a proxy; raises what aiohttp raises, and TimeoutError."""
        headers = {"Authorization": f"Bearer {TOKEN}"} if name in PROXIES else {}
        async with self.http.get(f"{self.urls[name]}{path}", headers=headers) as response:
            return await response.json(content_type=None)

    async def leaders(self) -> list[str]:
        """Return who says that it leads; one that does not answer says nothing."""
        answers = await asyncio.gather(*(self._ready(name) for name in CONTROLLERS))
        return [name for name, answer in zip(CONTROLLERS, answers, strict=True) if answer.get("is_leader")]

    async def _ready(self, name: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(1):
                return dict(await self.ask(name, "/readyz"))
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def _all_ready(self) -> bool:
        answers = await asyncio.gather(*(self._ready(name) for name in CONTROLLERS))
        return all(answer.get("ready") for answer in answers) and sum(a["is_leader"] for a in answers) == 1

    # Making

    def _folder(self, name: str) -> Path:
        folder = self.home / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _add(self, name: str, *command: str | Path, goodbye: signal.Signals = signal.SIGKILL, **variables: str) -> None:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("PENSTOCK_")}
        self.parts[name] = Part(
            name,
            (*self.network.of(name).prefix, *command),
            self.home / f"{name}.log",
            environment=outside | variables,
            goodbye=goodbye,
            tell=self._tell,
        )

    def add_database(self) -> None:
        if self.kind == "sqlite":
            self._database_url = f"sqlite:///{self.disk.folder}/penstock.db"
            return
        binaries = postgres.find_binaries()
        assert binaries is not None
        port, host = free_port(), self.network.of("postgres").address
        self._database_url = f"postgresql://postgres@{host}:{port}/postgres"
        postgres.create(binaries, self.disk.folder)
        with (self.disk.folder / "data" / "pg_hba.conf").open("a") as doors:
            doors.write("host all all samenet trust\n")
        changed = {"max_wal_size": "64MB", "min_wal_size": "32MB", "listen_addresses": host}
        command = postgres.command(binaries, self.disk.folder, port, **changed)
        self._add("postgres", *command, goodbye=signal.SIGINT)

    def add_rest(self) -> None:
        self.broker_port = free_port()
        Mosquitto(self.broker_home, changes={"listener 1883": f"listener {self.broker_port} {self.broker_host}"})
        self._add("broker", str(brokers.MOSQUITTO), "-c", self.broker_home / "mosquitto.conf")
        port = free_port()
        self.upstream_url = f"http://{self.network.here}:{port}"
        self._add("upstream", sys.executable, "-m", "tests.chaos.upstream", self.network.here, str(port))
        self._add("encoder", *upstream.encoder(self.upstream_url))
        for name in PROXIES:
            self._add_proxy(name)
        for name in CONTROLLERS:
            self._add_controller(name)

    def _add_proxy(self, name: str) -> None:
        address = f"{self.network.of(name).address}:{free_port()}"
        self.urls[name] = f"http://{address}"
        values = {"HTTP": address, "ID": name, "CONTROL_TOKEN": TOKEN, "LOG_FORMAT": "json"}
        variables = {f"PENSTOCK_PROXY_{key}": value for key, value in values.items()}
        self._add(name, sys.executable, "-m", "proxy", **variables)

    def _add_controller(self, name: str) -> None:
        address = f"{self.network.of(name).address}:{free_port()}"
        self.urls[name] = f"http://{address}"
        values = {
            "API_TOKEN": TOKEN,
            "CONTROLLER_NAME": name,
            "DATA_DIR": str(self._folder(f"{name}.data")),
            "DATABASE_URL": self._database_url,
            "HTTP": address,
            "MQTT_URL": f"mqtt://{self.broker_host}:{self.broker_port}",
            "PROXIES": ",".join(self.urls[proxy] for proxy in PROXIES),
            "CONTROL_TOKEN": TOKEN,
            "LOG_FORMAT": "json",
            **QUICK,
        }
        variables = {f"PENSTOCK_{key}": value for key, value in values.items()}
        self._add(name, sys.executable, "-m", "controller", "controller", **variables)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every part until the end of the block; return into it when all is well."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as self._http,
            asyncio.TaskGroup() as group,
        ):
            tasks = []
            try:
                if "postgres" in self.parts:
                    tasks.append(group.create_task(self.parts["postgres"].run(), name="postgres"))
                    await _until(lambda: postgres.answers(self._database_url))
                await asyncio.to_thread(migrate.upgrade, self._database_url)
                rest = [part for name, part in self.parts.items() if name != "postgres"]
                tasks += [group.create_task(part.run(), name=part.name) for part in rest]
                await _until(self._all_ready)
                yield
            finally:
                for task in tasks:
                    task.cancel()


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not await condition():  # noqa: ASYNC110 - another process gives no event
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def _folder_of_all() -> Iterator[Path]:
    """Make a folder that the user of Postgres can enter."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-chaos-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def world(home: Path, kind: Kind, tell: Callable[[str], None]) -> AsyncIterator[World]:
    """Run a whole world, its logs in ``home``."""
    with _folder_of_all() as folder, places.disk(folder, MEGABYTES[kind]) as disk, places.network(APART) as network:
        made = World(home, kind, disk, network, tell)
        made.add_database()
        made.add_rest()
        async with made.running():
            yield made
