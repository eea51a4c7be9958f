"""What was measured, as rows of one table, and the page that they are written to."""

import math
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"

HEAD = """# Performance

Written by `make bench`, from real processes on one machine that others may use at the same time: compare the rows with
each other, and runs on the same machine, before you compare machines. Nothing here is asserted by a test.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``compared`` says with what it was compared, and how it fared; empty when there is nothing real."""

    what: str
    value: str
    compared: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that were measured together."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when: a figure without them says nothing."""

    at: datetime
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]

    def lines(self) -> Iterable[str]:
        yield f"- {self.at:%Y-%m-%d %H:%M} UTC"
        yield f"- {os.cpu_count()} cores, {_cpu_model()}; {platform.system()} {platform.release()}"
        yield f"- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
        yield f"- load average (1, 5, 15 min) before {_loads(self.load_before)}, after {_loads(self.load_after)}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def spread(seconds: Sequence[float]) -> str:
    """Return the median, the 99th percentile and the worst of some durations."""
    if not seconds:
        return "none"
    shown = (statistics.median(seconds), percentile(seconds, 99), max(seconds))
    return " / ".join(milliseconds(value) for value in shown)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def table(parts: Iterable[Part]) -> str:
    lines = ["| what | measured | compared |", "| --- | --- | --- |"]
    for part in parts:
        lines.append(f"| **{part.title}** | | |")
        lines += [f"| {row.what} | {row.value} | {row.compared} |" for row in part.rows]
    return "\n".join(lines) + "\n"


def page(parts: Sequence[Part], circumstances: Circumstances) -> str:
    """Return the whole page."""
    notes = "\n".join(f"- **{part.title}**: {part.note}" for part in parts)
    return "\n".join((
        HEAD,
        "\n".join(circumstances.lines()) + "\n",
        table(parts),
        "## What was done\n",
        notes + "\n",
        "p50 / p99 / max stands for the median, the 99th percentile and the worst.\n",
    ))  # fmt: skip


def now() -> datetime:
    return datetime.now(UTC)


def complain(text: str) -> None:
    print(text, file=sys.stderr)


def _cpu_model() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _loads(load: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.1f}" for value in load)
