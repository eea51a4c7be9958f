"""The part of the table that is about media."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.media import delivery, joining, memory, segments
from bench.media.servers import FLUSH_MS
from bench.media.tools import TICK_MS, Source
from bench.report import Part, Row, complain

NICENESS = -10
CHAPTERS: Final[dict[str, Callable[[Path, Source], Iterator[Row]]]] = {
    "ts": delivery.rows,
    "many": delivery.rows_of_many,
    "hls": segments.rows,
    "joins": joining.rows,
    "memory": memory.rows,
}
"""What can be measured alone, by name."""
NOTE = (
    f"One source sends 8 Mbit/s of real H.264 every {TICK_MS} ms, each time with a stamp; a load maker in "
    "C opens viewers and throws away in the kernel what it does not look at. The C reference is a plain "
    f"epoll fan-out that parses nothing: one buffer, one `send` for each viewer every {FLUSH_MS} ms. "
    f"Servers take turns, {delivery.ROUNDS} times {delivery.SECONDS:.0f} s each, and medians are compared; "
    "CPU is that of the server's process alone, as the scheduler counts it. Delay is from the stamp to "
    "the moment the load maker has read it, so it holds the load maker's own waiting, too. HAProxy has no "
    "fan-out and gets each viewer's stream from the C reference. Everything runs on the same cores: "
    "delays depend on the load of the machine, ratios of CPU much less."
)


def measure(home: Path, chapters: Sequence[str] = tuple(CHAPTERS)) -> Part:
    with suppress(PermissionError):  # else it shares the machine with whatever else runs on equal terms
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    try:
        with Source(home) as source:
            return Part("Media", NOTE, tuple(_rows(home, source, chapters)))
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)


def _rows(home: Path, source: Source, chapters: Sequence[str]) -> Iterator[Row]:
    for chapter in chapters:
        for row in CHAPTERS[chapter](home, source):
            complain(f"{row.what}: {row.value} ({row.compared})")
            yield row
