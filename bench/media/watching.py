"""One measurement: so many viewers of one server for some seconds, and what its process spent meanwhile."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.media.servers import Server
from bench.media.tools import Load
from bench.report import percentile

OPEN_SECONDS = 15
SETTLE_SECONDS = 1.0
PROBE_EVERY = 20


@dataclass(frozen=True, slots=True)
class Window:
    """What some viewers got within some seconds."""

    seconds: float
    watching: int
    lost: int
    bytes: Sequence[int]
    """Of each viewer."""
    gaps: Sequence[float]
    """The longest of each viewer, seconds."""
    delays: Sequence[float]
    """From the source's stamp to a viewer, seconds."""
    cpu_seconds: float

    @property
    def gigabytes(self) -> float:
        return sum(self.bytes) / 1e9

    @property
    def cost(self) -> float:
        """CPU seconds for each GB."""
        return self.cpu_seconds / self.gigabytes if self.gigabytes else float("inf")

    @property
    def fairness(self) -> float:
        """What the slowest got, as a share of what the fastest got; nothing when somebody was dropped."""
        return min(self.bytes) / max(self.bytes) if self.bytes and not self.lost and max(self.bytes) else 0.0

    def delay(self, percent: float) -> float:
        return percentile(self.delays, percent) if self.delays else float("inf")


def watch(load: Load, server: Server, seconds: float) -> Window:
    """Measure with the viewers that ``load`` has opened."""
    before = cpu_seconds(server.pid)
    told = load.ask(f"window {seconds}")
    return Window(
        seconds=told["seconds"],
        watching=told["watching"],
        lost=told["lost"],
        bytes=told["bytes"],
        gaps=[gap / 1e6 for gap in told["gap_us"]],
        delays=[delay / 1e6 for delay in told["delay_us"]],
        cpu_seconds=cpu_seconds(server.pid) - before,
    )


def visit(home: Path, server: Server, viewers: int, *, streams: int = 1, seconds: float) -> Window:
    """Open viewers, let them settle, measure, and close them."""
    with Load(home, server.port) as load:
        load.ask(f"open {viewers} {server.path} {streams} {PROBE_EVERY} {OPEN_SECONDS}")
        time.sleep(SETTLE_SECONDS)
        return watch(load, server, seconds)


def cpu_seconds(pid: int) -> float:
    """CPU that the threads of a process have had: to the nanosecond where the kernel tells, else to its ticks."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    try:
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def private_bytes(pid: int) -> int:
    """Memory that only this process has, without the ring's segments and without the kernel's socket buffers."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def segment_bytes(pid: int) -> int:
    """Memory that the ring's segments have."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(entry.readlink()).startswith("/memfd:penstock"):
                found += entry.stat().st_blocks * 512
        except OSError:
            continue  # it was closed meanwhile
    return found
