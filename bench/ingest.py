"""Events from the broker to the database: what becomes durable in a second, against a client without a database.

``python -m bench.ingest PORT URL|- EVENTS`` drains in a process of its own, and prints JSON.
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import sqlalchemy
import uvloop
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bench.announcer import ended, publish, started
from bench.report import Part, Row
from controller.app import GARBAGE_THRESHOLDS
from controller.domain.events import Incoming
from controller.domain.verdicts import Verdict
from controller.ingest.connection import Link
from controller.ingest.subscriber import Pace
from controller.store import dialects, migrate
from controller.store.engine import Database
from controller.store.record import Recorded
from tests.fakes import postgres
from tests.fakes.broker import Mosquitto
from tests.fakes.subscriber_process import CLIENT_ID, build

STREAMS = 2_000
EVENTS = 2 * STREAMS
"""A start and an end of each."""
BATCH = 400
ROUNDS = 3
DRAIN_SECONDS_MAX = 120.0
TOPICS = "penstock/v1/sources/bench/#"

NOTE = (
    f"Mosquitto with the shipped configuration holds {EVENTS} QoS 1 events ({STREAMS} starts, then {STREAMS} ends) for "
    "the controller's client, which then connects: the real subscriber, decoding, recording and acknowledging in "
    f"batches of {BATCH}, in a process of its own. Durable means committed before the acknowledgement, with SQLite's "
    "`synchronous=FULL`, or Postgres with its defaults. Without a database the same client decodes and acknowledges. "
    "Bare inserts are what one writer commits with `executemany`: a stream and a transition for each event, in batches "
    f"of {BATCH}. The median of {ROUNDS}, taken in turn."
)


@dataclass(frozen=True, slots=True)
class Drained:
    events: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def measure(home: Path) -> Part:
    binaries = postgres.find_binaries()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres.run(binaries, durable=True)) if binaries else None
        found: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            folder = home / str(number)
            folder.mkdir()
            urls = {"SQLite": f"sqlite:///{folder / 'penstock.db'}"}
            if server is not None:
                urls["Postgres"] = stack.enter_context(server.database(migrate.upgrade))
            for name, url in {"": "-", **urls}.items():
                drained = asyncio.run(_drain(folder, url))
                found.setdefault(name, []).append(drained.rate)
                cpu.setdefault(name, []).append(drained.cpu_seconds * 1e6 / drained.events)
            for name, url in urls.items():
                found.setdefault(f"{name} bare", []).append(_insert(url))
    rates = {name: statistics.median(values) for name, values in found.items()}
    rows = [Row("without a database", f"{rates['']:.0f} events/s", f"{statistics.median(cpu['']):.0f} µs CPU an event")]
    for name, target in (("SQLite", 5000), ("Postgres", 2500)):
        if name not in rates:
            rows.append(Row(f"{name}, durable", "not measured", postgres.INSTALL))
            continue
        share, bare = rates[name] / rates[""], rates[name] / rates[f"{name} bare"]
        compared = f"{share:.2f} of without a database; {bare:.2f} of bare inserts ({rates[f'{name} bare']:.0f}/s)"
        used = f"{statistics.median(cpu[name]):.0f} µs CPU an event"
        rows.append(Row(f"{name}, durable", f"{rates[name]:.0f} events/s, {used}", f"{compared}; wanted {target}/s"))
    return Part("Ingest", NOTE, tuple(rows))


async def _drain(folder: Path, url: str) -> Drained:
    """Fill the broker's queue, then let a process of its own drain it."""
    if url != "-":
        migrate.upgrade(url)
    broker_home = folder / f"broker-{time.monotonic_ns()}"
    broker_home.mkdir()
    broker = Mosquitto(broker_home)
    await broker.start()
    try:
        await _fill(broker.port)
        command = [sys.executable, "-m", "bench.ingest", str(broker.port), url, str(EVENTS)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            printed, _ = await process.communicate()
        return Drained(**json.loads(printed.splitlines()[-1]))
    finally:
        broker.stop()


async def _fill(port: int) -> None:
    """Subscribe under the controller's name, leave, and publish: the broker keeps everything for it."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    version = aiomqtt.ProtocolVersion.V5
    listener = aiomqtt.Client(
        "127.0.0.1", port, identifier=CLIENT_ID, protocol=version, clean_start=False, properties=properties
    )
    async with listener as client:
        await client.subscribe(TOPICS, qos=1)
    async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
        client.pending_calls_threshold = EVENTS
        for make in (started, ended):
            for begin in range(0, STREAMS, BATCH):
                await publish(client, [make(number) for number in range(begin, begin + BATCH)])


async def _drain_here(port: int, url: str, events: int) -> Drained:
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    database = None if url == "-" else Database(url)
    done = asyncio.Event()
    heard = 0

    async def record_nothing(batch: Sequence[Incoming]) -> Recorded:
        return Recorded(tuple(Verdict.NOTED for _ in batch), frozenset(), frozenset(), False, frozenset())

    def note(recorded: Recorded) -> None:
        nonlocal heard
        heard += len(recorded.verdicts)
        if heard >= events:
            done.set()

    async def nothing(*_given: object) -> Sequence[None]:
        return ()

    options = {"read_states": nothing, "read_latest": nothing, "wake": note, "pace": Pace(batch_max=BATCH)}
    if database is None:
        options["write"] = record_nothing
    link = Link("127.0.0.1", port, CLIENT_ID, protocol="5", receive_max=2 * BATCH)
    subscriber = build(database or Database("sqlite://"), link, **options)
    began, used = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(subscriber.run(), name="drain")
        await done.wait()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        running.cancel()
    return Drained(events, seconds, cpu)


def _insert(url: str) -> float:
    """Commit bare rows with one writer; return events a second."""
    engine = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    now = datetime.now(UTC).isoformat()
    with engine.begin() as connection:
        for table in ("bare_streams", "bare_transitions"):
            connection.exec_driver_sql(f"CREATE TABLE {table} (id TEXT, key TEXT, state TEXT, spec TEXT, at TEXT)")
    began = time.perf_counter()
    for begin in range(0, EVENTS, BATCH):
        rows = [
            {"id": f"{n:036}", "key": f"k{n}", "state": "PENDING", "spec": "x" * 200, "at": now}
            for n in range(begin, begin + BATCH)
        ]
        with engine.begin() as connection:
            for table in ("bare_streams", "bare_transitions"):
                connection.execute(sqlalchemy.text(f"INSERT INTO {table} VALUES (:id, :key, :state, :spec, :at)"), rows)
    rate = EVENTS / (time.perf_counter() - began)
    engine.dispose()
    return rate


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(dataclasses.asdict(runner.run(_drain_here(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))))
