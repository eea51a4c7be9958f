"""What a viewer, a stream that nobody watches and a stream that runs take of memory."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.media import servers
from bench.media.tools import Load, Source
from bench.media.verdicts import judged
from bench.media.watching import OPEN_SECONDS, SETTLE_SECONDS, private_bytes, segment_bytes
from bench.report import Row

VIEWERS = (100, 800)
"""The first warm the process up, the others are counted."""
VIEWER_MAX = 16 * 1024
IDLE = (100, 900)
IDLE_MAX = 20 * 1024
RUNNING = 4
RING_BYTES = 32 * 1024 * 1024
"""As it is set by default."""
RUNNING_MAX = RING_BYTES + 2 * 1024 * 1024
FILL_SECONDS = 40.0
"""Until the ring is full at 8 Mbit/s."""


def rows(home: Path, source: Source) -> Iterator[Row]:
    yield _per_viewer(home, source)
    yield _per_idle_stream(source)
    yield _per_running_stream(source)


def _per_viewer(home: Path, source: Source) -> Row:
    with servers.penstock(source.port) as server, Load(home, server.port) as load:
        taken = []
        for viewers in VIEWERS:
            load.ask(f"open {viewers} {server.path} 1 0 {OPEN_SECONDS}")
            time.sleep(2 * SETTLE_SECONDS)
            taken.append(private_bytes(server.pid))
    return _row("memory for each TS viewer", (taken[1] - taken[0]) / VIEWERS[1], VIEWER_MAX)


def _per_idle_stream(source: Source) -> Row:
    with servers.penstock(source.port, 0) as server:
        taken = []
        for first, count in ((0, IDLE[0]), (IDLE[0], IDLE[1])):
            servers.announce(server.port, range(first, first + count), source.port, on_demand=True)
            time.sleep(SETTLE_SECONDS)
            taken.append(private_bytes(server.pid))
    return _row("memory for each idle on-demand stream", (taken[1] - taken[0]) / IDLE[1], IDLE_MAX)


def _per_running_stream(source: Source) -> Row:
    with servers.penstock(source.port, 0) as server:
        before = private_bytes(server.pid)
        servers.announce(server.port, range(RUNNING), source.port, on_demand=False)
        time.sleep(FILL_SECONDS)
        segments = segment_bytes(server.pid)
        taken = (private_bytes(server.pid) - before + segments) / RUNNING
    row = _row("memory for each running stream of 8 Mbit/s with 24 s of HLS", taken, RUNNING_MAX)
    return Row(row.what, row.value, f"{segments / RUNNING / 2**20:.1f} MiB of it the ring; {row.compared}")


def _row(what: str, taken: float, at_most: int) -> Row:
    shown = [f"{size / 1024:.1f} KiB" if size < 2**20 else f"{size / 2**20:.1f} MiB" for size in (taken, at_most)]
    return judged(
        what,
        shown[0],
        "private pages, without the kernel's socket buffers",
        target=f"≤ {shown[1]}",
        met=taken <= at_most,
    )
