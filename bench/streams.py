"""A thousand streams: a broker and a machine as users run them, a burst of news, and people who look meanwhile."""

import asyncio
import contextlib
import itertools
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench.report import Part, Row, complain, milliseconds, spread
from tests.fakes.broker import Mosquitto
from tests.fakes.machine import Machine, machine, until

STREAMS = 1000
POLL_SECONDS = 0.1
SETTLE_SECONDS = 90.0
PAGE_SECONDS = 5.0
"""How often an open page asks for all streams, beside what it is told."""

ASKED = {
    "/streams": POLL_SECONDS,
    "/": POLL_SECONDS,
    "/debug/sync-check": POLL_SECONDS,
    f"/streams?limit={STREAMS}": PAGE_SECONDS,
}
"""Addresses, and how often each is asked."""

NOTE = (
    f"Mosquitto with the shipped configuration and `penstock serve` on SQLite; one source announces {STREAMS} streams "
    f"within a second and ends every second one within the next, at QoS 1. Meanwhile each address is asked every "
    f"{POLL_SECONDS * 1000:.0f} ms (all streams at once: every {PAGE_SECONDS:.0f} s, as an open page does). "
    f"Right means: {STREAMS // 2} rows LIVE, the others CLOSED, and the proxy's own list names exactly the live ones."
)


@dataclass(slots=True)
class Polls:
    """How long the answers took, by what was asked."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {path: [] for path in ASKED})
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Burst:
    """What one run of it has shown."""

    starts_seconds: float
    ends_seconds: float
    right_seconds: float
    """From the broker's last confirmation until everything was right."""
    to_live: list[float]
    to_closed: list[float]
    during: Polls
    settled: Polls
    cycles: list[float]
    full_cycles: list[float]
    log_lines: int
    cpu_seconds: dict[str, float]


async def measure(home: Path, keep_log: Callable[[Path], None] = lambda _path: None) -> Part:
    broker = Mosquitto(home)
    await broker.start()
    try:
        data = home / "data"
        data.mkdir()
        async with machine(data, mqtt_port=broker.port) as penstock:
            try:
                burst = await _run(penstock, broker.port)
            finally:
                keep_log(penstock.log_path)
    finally:
        broker.stop()
    return Part("A thousand streams", NOTE, tuple(_rows(burst)))


async def _run(penstock: Machine, port: int) -> Burst:
    during, settled = Polls(), Polls()
    cpu_before = _cpu(penstock)
    async with asyncio.TaskGroup() as group:
        calm = asyncio.Event()
        for path, every in ASKED.items():
            group.create_task(_poll(penstock, path, every, during, calm), name=path)
        starts, ends, confirmed_at = await _announce(port)
        await until(lambda: _is_right(penstock), SETTLE_SECONDS, every=0.02)
        right = time.perf_counter() - confirmed_at
        calm.set()
    cpu = {name: seconds - cpu_before.get(name, 0.0) for name, seconds in _cpu(penstock).items()}
    await _poll_calmly(penstock, settled)
    lines = penstock.log()
    cycles = [line for line in lines if line["event"] == "reconcile.completed"]
    with closing(_open(penstock)) as database:
        return Burst(
            starts_seconds=starts,
            ends_seconds=ends,
            right_seconds=right,
            to_live=_between(database, "announced", "LIVE"),
            to_closed=_between(database, "source_ended", "CLOSED"),
            during=during,
            settled=settled,
            cycles=[line["seconds"] for line in cycles if line["scope"] != "full"],
            full_cycles=[line["seconds"] for line in cycles if line["scope"] == "full"],
            log_lines=len(lines),
            cpu_seconds=cpu,
        )


async def _announce(port: int) -> tuple[float, float, float]:
    """Let the source speak; return how long both halves took, and when the last message was confirmed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.announcer", str(port), str(STREAMS), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(SETTLE_SECONDS):
        starts = float(await process.stdout.readline())
        ends = float(await process.stdout.readline())
        confirmed_at = time.perf_counter()
        await process.wait()
    return starts, ends, confirmed_at


# Looking


async def _poll(penstock: Machine, path: str, every: float, polls: Polls, stop: asyncio.Event) -> None:
    """Ask at a steady pace, whether or not earlier answers have come: a slow answer must not hide the next one."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if stop.is_set():
                return
            group.create_task(_ask(penstock, path, polls), name=path)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + (number + 1) * every - time.perf_counter())):
                    await stop.wait()


async def _poll_calmly(penstock: Machine, polls: Polls) -> None:
    for _ in range(20):
        for path in ASKED:
            await _ask(penstock, path, polls)
        await asyncio.sleep(POLL_SECONDS)


async def _ask(penstock: Machine, path: str, polls: Polls) -> None:
    began = time.perf_counter()
    async with penstock.http.get(f"http://127.0.0.1:{penstock.http_port}{path}") as response:
        await response.read()
        if response.status != 200:
            polls.failed[path] += 1
    polls.seconds[path].append(time.perf_counter() - began)


# What became of it


async def _is_right(penstock: Machine) -> bool:
    """Look into the database, which costs the controller nothing, and then at what the proxy runs."""
    with closing(_open(penstock)) as database:
        states = Counter(dict(database.execute("SELECT state, count(*) FROM streams GROUP BY state").fetchall()))
        live = {key for (key,) in database.execute("SELECT key FROM streams WHERE state = 'LIVE'")}
    if states != {"LIVE": STREAMS // 2, "CLOSED": STREAMS - STREAMS // 2}:
        return False
    listed = await penstock.control("GET", "/sessions")
    return {session["key"] for session in listed["sessions"]} == live


def _open(penstock: Machine) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{penstock.data / 'penstock.db'}?mode=ro", uri=True)


def _between(database: sqlite3.Connection, event: str, state: str) -> list[float]:
    """Return how long every run took from an event to a state, by its own history."""
    query = """SELECT a.at, b.at FROM transitions a JOIN transitions b ON a.stream_id = b.stream_id
               WHERE (a.event = ? OR a.reason = ?) AND b.to_state = ? AND b.at >= a.at GROUP BY a.stream_id"""
    pairs = database.execute(query, (event, event, state)).fetchall()
    return [(_time(after) - _time(before)).total_seconds() for before, after in pairs]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _cpu(penstock: Machine) -> dict[str, float]:
    spent = {name: process.cpu_times() for name, process in penstock.processes().items()}
    return {name: times.user + times.system for name, times in spent.items()}


def _rows(burst: Burst) -> list[Row]:
    rows = [
        Row(f"broker has confirmed {STREAMS} starts", milliseconds(burst.starts_seconds), "paced: 1 s"),
        Row(f"broker has confirmed {STREAMS // 2} ends", milliseconds(burst.ends_seconds), "paced: 1 s"),
        Row("everything right, after the last confirmation", milliseconds(burst.right_seconds)),
        Row("one stream from announced to LIVE, p50 / p99 / max", spread(burst.to_live)),
        Row("one stream from ended to CLOSED, p50 / p99 / max", spread(burst.to_closed)),
    ]
    for path in ASKED:
        failed = f", {burst.during.failed[path]} failed" if burst.during.failed[path] else ""
        taken = burst.during.seconds[path]
        rows.append(Row(
            f"`GET {path}` during it, p50 / p99 / max",
            f"{spread(taken)} ({len(taken)} asked{failed})",
            f"settled: {spread(burst.settled.seconds[path])}",
        ))  # fmt: skip
    rows.append(Row("cycles for single keys, p50 / p99 / max", f"{spread(burst.cycles)} ({len(burst.cycles)})"))
    rows.append(
        Row("cycles for everything, p50 / p99 / max", f"{spread(burst.full_cycles)} ({len(burst.full_cycles)})")
    )
    rows += [Row(f"CPU of {name}", f"{seconds:.1f} s") for name, seconds in sorted(burst.cpu_seconds.items())]
    rows.append(Row("lines of log", str(burst.log_lines)))
    if not burst.to_live or not burst.to_closed:
        complain("the history tells of no run from start to end")
    return rows
