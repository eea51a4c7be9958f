"""The whole cycle of the control loop at scale: ten proxies without media over real HTTP, and nothing to repair.

``python -m bench.cycle SESSIONS`` measures one size in a process of its own, and prints JSON.
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from bench import fleet
from bench.report import Part, Row, milliseconds, spread
from controller.app import GARBAGE_THRESHOLDS
from controller.domain import model
from controller.domain.model import Change, Condition, ConditionStatus, ConditionType, PlacementState, State
from controller.proxy_client import http_session
from controller.store import migrate, streams
from controller.store.engine import Database
from tests.fakes.control_room import TOKEN, ControlRoom, client_of
from tests.fakes.ports import free_port

SIZES = (1_000, 10_000, 100_000)
WATCHED = 10_000
"""Sessions of the controller whose API is asked meanwhile."""
ROUNDS = 7
BATCH = 5_000
ASKING_SECONDS = 20.0
ASKING_EVERY_SECONDS = 0.05
ASKED = "/streams?limit=20"
SINCE = datetime.now(UTC) - timedelta(hours=1)

NOTE = (
    f"{fleet.PROXIES} proxies that list over real HTTP and carry no media, SQLite, every stream LIVE and as wished. A "
    f"cycle lists every proxy, reads the database, plans and writes its row: the median of {ROUNDS} in a process of "
    f"its own, after a first one that reads everything. The API is asked for `{ASKED}` twenty times a second while the "
    "controller's process runs no full cycle, one every 10 s, which is the default, and one every 0.4 s."
)


@dataclass(frozen=True, slots=True)
class Size:
    """What one size took. CPU is that of the control loop's process alone."""

    sessions: int
    first_seconds: float
    quiet_seconds: float
    quiet_cpu_seconds: float
    rss_bytes: int


def measure(home: Path) -> Part:
    sizes = [_measure_apart(sessions) for sessions in SIZES]
    calm, usual, busy = asyncio.run(_ask_meanwhile(home))
    name = f"`GET {ASKED}` of {WATCHED} streams"
    asked = [
        Row(
            f"{name} while a cycle runs every 10 s, p50 / p99 / max", spread(usual), f"while none runs: {spread(calm)}"
        ),
        Row(f"{name} while one follows another, p50 / p99 / max", spread(busy), f"while none runs: {spread(calm)}"),
    ]
    return Part("The cycle at scale", NOTE, (*_rows(sizes), *asked))


def _rows(sizes: list[Size]) -> Iterator[Row]:
    before = None
    for size in sizes:
        compared = f"{size.quiet_cpu_seconds * 1e6 / size.sessions:.0f} µs CPU a session"
        if before is not None:
            grown = size.quiet_cpu_seconds / before.quiet_cpu_seconds
            compared += f"; CPU x{grown:.1f} for x{size.sessions // before.sessions}"
        yield Row(
            f"cycle with nothing to repair, {size.sessions} sessions: wall / CPU / memory",
            f"{milliseconds(size.quiet_seconds)} / {milliseconds(size.quiet_cpu_seconds)} / {size.rss_bytes >> 20} MiB",
            f"{compared}; the first one {milliseconds(size.first_seconds)}",
        )
        before = size


def _measure_apart(sessions: int) -> Size:
    command = [sys.executable, "-m", "bench.cycle", str(sessions)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    return Size(**json.loads(done.stdout.splitlines()[-1]))


async def _measure_here(sessions: int) -> Size:
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as home, _fleet(sessions) as urls:
        database = await _filled(Path(home), sessions)
        async with http_session() as http:
            clients = [client_of(http, url, list_timeout_seconds=60) for url in urls]
            room = await ControlRoom.open(database, clients)
            began = time.perf_counter()
            await room.full()
            first = time.perf_counter() - began
            walls, cpus = [], []
            for _ in range(ROUNDS):
                began, used = time.perf_counter(), time.process_time()
                planned = await room.full()
                walls.append(time.perf_counter() - began)
                cpus.append(time.process_time() - used)
                # A cycle that repairs something would be another one.
                assert planned.is_empty
                assert not planned.actions, planned.actions[:3]
        await database.dispose()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Size(sessions, first, statistics.median(walls), statistics.median(cpus), memory)


@contextlib.contextmanager
def _fleet(sessions: int) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "bench.fleet", str(sessions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()
        finally:
            process.kill()


async def _filled(home: Path, sessions: int) -> Database:
    url = f"sqlite:///{home / 'penstock.db'}"
    migrate.upgrade(url)
    database = Database(url, synchronous="NORMAL")
    for start in range(0, sessions, BATCH):
        runs = [_live(number) for number in range(start, min(start + BATCH, sessions))]
        await database.write(
            streams.save, [Change(run, is_new=True, placements=run.placements) for run in runs], now=SINCE
        )
    return database


def _live(number: int) -> model.Run:
    """A run of which everything has been said already."""
    stream_id, proxy = model.StreamId(fleet.stream_id(number)), number % fleet.PROXIES
    placement = model.Placement(
        stream_id=stream_id,
        generation=1,
        proxy_id=model.ProxyId(fleet.proxy_id(proxy)),
        boot_id=model.BootId(fleet.boot_id(proxy)),
        spec_generation=1,
        state=PlacementState.OBSERVED,
        requested_at=SINCE,
        observed_at=SINCE,
        reply_sequence=1,
    )
    stream = model.Stream(
        id=stream_id,
        key=model.Key(fleet.key(number)),
        source_id=model.SourceId("bench"),
        epoch=1,
        announced_epoch=1,
        seq=1,
        source_boot_id="boot",
        state=State.LIVE,
        spec=model.StreamSpec(tuple(model.Upstream(u.url) for u in fleet.spec(number).upstreams)),
        created_at=SINCE,
        state_since=SINCE,
        generation=1,
        conditions=(
            Condition(ConditionType.FLOWING, ConditionStatus.UNKNOWN, "Idle", "nobody watches", SINCE, 1),
            Condition(
                ConditionType.PLACED, ConditionStatus.TRUE, "Observed", f"on proxy {placement.proxy_id}", SINCE, 1
            ),
        ),
    )
    return model.Run(stream, (placement,))


# The API meanwhile


async def _ask_meanwhile(home: Path) -> list[list[float]]:
    asked = []
    with _fleet(WATCHED) as urls:
        await (await _filled(home, WATCHED)).dispose()
        for resync_seconds in (3600, 10, 0.3):
            async with _controller(home, urls, resync_seconds=resync_seconds) as url:
                asked.append(await _ask(url))
    return asked


async def _ask(url: str) -> list[float]:
    taken = []
    async with aiohttp.ClientSession() as http:
        ends = time.perf_counter() + ASKING_SECONDS
        while (began := time.perf_counter()) < ends:
            async with http.get(url + ASKED) as response:
                await response.read()
                assert response.status == 200
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(max(0.0, ASKING_EVERY_SECONDS - taken[-1]))
    return taken


@contextlib.asynccontextmanager
async def _controller(home: Path, urls: list[str], *, resync_seconds: float) -> AsyncIterator[str]:
    port = free_port()
    settings = {
        "PENSTOCK_DATA_DIR": str(home),
        "PENSTOCK_HTTP": f"127.0.0.1:{port}",
        "PENSTOCK_PROXIES": ",".join(urls),
        "PENSTOCK_CONTROL_TOKEN": TOKEN,
        "PENSTOCK_MQTT_URL": "mqtt://127.0.0.1:9",
        "PENSTOCK_RESYNC_SECONDS": str(resync_seconds),
        "PENSTOCK_LIST_TIMEOUT_SECONDS": "30",
        "PENSTOCK_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller", "controller", env=os.environ | settings
    )
    try:
        await _until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url + "/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(asyncio.run(_measure_here(int(sys.argv[1]))))))
