"""MPEG-TS viewers: what a GB costs beside the C reference and others, what delay is added, and how fair it is."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench.media import servers
from bench.media.servers import Server
from bench.media.tools import Load, MissingError, Source
from bench.media.verdicts import judged, ratio
from bench.media.watching import OPEN_SECONDS, PROBE_EVERY, SETTLE_SECONDS, Window, median, visit, watch
from bench.report import Row, milliseconds

ROUNDS = 3
SECONDS = 4.0
VIEWERS = (100, 900)
STREAMS, VIEWERS_EACH = 50, 10
COST_MAX, COST_MAX_MANY = 1.1, 1.3
PEERS = {"Icecast 2": 0.2, "HAProxy": 0.4}
DELAY_MEDIAN_MAX, DELAY_WORST_MAX = 0.040, 0.090
FAIRNESS_MIN = 0.98
STOPPED_ROUNDS = 2
NOISE = 1.25
"""What a repeated window differs by on a machine that others use."""


def rows(home: Path, source: Source) -> Iterator[Row]:
    with servers.reference(home, source.port) as reference, servers.penstock(source.port) as penstock:
        for viewers in VIEWERS:
            ours, theirs = _interleaved(home, penstock, reference, viewers)
            yield _cost_row(f"1 stream, {viewers} viewers", ours, theirs, COST_MAX)
            yield from _peer_rows(home, source, reference, ours, viewers)
        yield from _delay_rows(ours, theirs)
        yield from _stopped_rows(home, penstock)


def rows_of_many(home: Path, source: Source) -> Iterator[Row]:
    with (
        servers.reference(home, source.port, STREAMS) as reference,
        servers.penstock(source.port, STREAMS) as penstock,
    ):
        ours, theirs = _interleaved(home, penstock, reference, STREAMS * VIEWERS_EACH, streams=STREAMS)
        yield _cost_row(f"{STREAMS} streams, {VIEWERS_EACH} viewers each", ours, theirs, COST_MAX_MANY)


def _interleaved(
    home: Path, ours: Server, theirs: Server, viewers: int, streams: int = 1
) -> tuple[list[Window], list[Window]]:
    """Measure one after the other, several times: what disturbs the machine then disturbs both."""
    found: tuple[list[Window], list[Window]] = ([], [])
    for _ in range(ROUNDS):
        for windows, server in zip(found, (ours, theirs), strict=True):
            windows.append(visit(home, server, viewers, streams=streams, seconds=SECONDS))
    return found


def _cost_row(what: str, ours: list[Window], theirs: list[Window], at_most: float) -> Row:
    cost, yardstick = (median([window.cost for window in windows]) for windows in (ours, theirs))
    row = ratio(f"CPU, {what}", cost, yardstick, "the C reference", at_most=at_most)
    watching = min(window.watching for window in ours)
    return (
        row if watching == len(ours[0].bytes) else Row(row.what, row.value, f"only {watching} watching; {row.compared}")
    )


def _peer_rows(home: Path, source: Source, reference: Server, ours: list[Window], viewers: int) -> Iterator[Row]:
    started: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "Icecast 2": lambda: servers.icecast(home, source.port),
        "HAProxy": lambda: servers.haproxy(home, reference),
    }
    cost = median([window.cost for window in ours])
    for name, below in PEERS.items():
        what = f"CPU, against {name}, {viewers} viewers"
        try:
            with started[name]() as server:
                window = visit(home, server, viewers, seconds=SECONDS)
        except (MissingError, RuntimeError) as error:
            yield Row(what, "not measured", str(error))
            continue
        share = window.gigabytes / window.seconds / (viewers * 1e-3)
        shown = (
            f"{cost / window.cost:.2f} x {name} ({window.cost:.3f}; {window.watching} watching, {share:.0%} delivered)"
        )
        yield judged(what, f"{cost:.3f} CPU-s/GB", shown, target=f"< {below}", met=cost < below * window.cost)


def _delay_rows(ours: list[Window], theirs: list[Window]) -> Iterator[Row]:
    load = os.getloadavg()[0]
    for percent, limit in ((50, DELAY_MEDIAN_MAX), (99, DELAY_WORST_MAX)):
        delay, other = (median([window.delay(percent) for window in windows]) for windows in (ours, theirs))
        shown = f"the C reference: {milliseconds(other)} (load {load:.1f})"
        yield judged(
            f"added delay p{percent}, {VIEWERS[-1]} viewers",
            milliseconds(delay), shown, target=f"≤ {limit * 1000:.0f} ms", met=delay <= limit,
        )  # fmt: skip
    fairness = median([window.fairness for window in ours])
    lost = sum(window.lost for window in ours)
    yield judged(
        f"fairness, {VIEWERS[-1]} viewers: slowest over fastest", f"{fairness:.3f}",
        f"{lost} dropped; the C reference: {median([window.fairness for window in theirs]):.3f}",
        target=f"≥ {FAIRNESS_MIN}, nobody dropped", met=fairness >= FAIRNESS_MIN and not lost,
    )  # fmt: skip
    gap = median([max(window.gaps) for window in ours])
    other_gap = median([max(window.gaps) for window in theirs])
    yield Row(
        f"longest gap of any of {VIEWERS[-1]} viewers", milliseconds(gap), f"the C reference: {milliseconds(other_gap)}"
    )


def _stopped_rows(home: Path, server: Server) -> Iterator[Row]:
    """One more viewer comes, and is stopped: compare what the others get with it and without it."""
    free, stopped = [], []
    with Load(home, server.port) as load:
        load.ask(f"open {VIEWERS[-1]} {server.path} 1 {PROBE_EVERY} {OPEN_SECONDS}")
        time.sleep(SETTLE_SECONDS)
        for _ in range(STOPPED_ROUNDS):
            free.append(watch(load, server, SECONDS / 2).delay(99))
            with Load(home, server.port) as sleeper:
                sleeper.ask(f"open 1 {server.path} 1 0 {OPEN_SECONDS}")
                sleeper.signal(signal.SIGSTOP)
                time.sleep(SETTLE_SECONDS)
                stopped.append(watch(load, server, SECONDS / 2).delay(99))
                sleeper.signal(signal.SIGCONT)
    worst = max(*free, median(free) * NOISE)
    yield judged(
        f"one of {VIEWERS[-1]} stopped: the others' delay p99", milliseconds(median(stopped)),
        f"without it: {milliseconds(min(free))} to {milliseconds(max(free))}",
        target="unchanged within noise", met=median(stopped) <= worst,
    )  # fmt: skip
