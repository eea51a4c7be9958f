"""HLS viewers, who poll the playlist and fetch segments, beside nginx with the same files."""

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.media import servers
from bench.media.servers import Server
from bench.media.tools import Load, MissingError, Source
from bench.media.verdicts import ratio
from bench.media.watching import Window, median, watch
from bench.report import Row, milliseconds

VIEWERS = 300
ROUNDS = 2
SEGMENT_SECONDS = 4
SECONDS = 3.0 * SEGMENT_SECONDS
"""Whole segments, or the burst at a segment's beginning would weigh more in one window than in another."""
COST_MAX = 1.3
MIRROR_SECONDS = 1.0
"""The mirror looks so often, each time on a new connection, which is work that nginx does not have."""
PLAYLIST = "/hls/bench-0/index.m3u8"
TOKEN = re.compile(r"\?v=[\w-]+")


def rows(home: Path, source: Source) -> Iterator[Row]:
    with servers.penstock(source.port, on_demand=False) as penstock, _mirrored(home, penstock) as mirror:
        ours: list[Window] = []
        theirs: list[Window] = []
        try:
            with servers.nginx(home, mirror.folder) as nginx:
                for _ in range(ROUNDS):
                    ours.append(_visit(home, penstock))
                    theirs.append(_visit(home, nginx))
        except MissingError as error:
            yield Row(f"CPU, HLS, {VIEWERS} viewers", "not measured", str(error))
            return
        fetched = mirror.bytes / 1e9 / mirror.seconds
        cost = median([window.cpu_seconds / (window.gigabytes + fetched * window.seconds) for window in ours])
        yardstick = median([window.cost for window in theirs])
        yield ratio(f"CPU, HLS, {VIEWERS} viewers", cost, yardstick, "nginx", at_most=COST_MAX)
        shares = [f"{window.gigabytes / window.seconds / (VIEWERS * 1e-3):.0%}" for window in (ours[0], theirs[0])]
        gaps = [milliseconds(max(window.gaps)) for window in (ours[0], theirs[0])]
        lost = sum(window.lost for window in ours + theirs)
        yield Row(
            "HLS delivered, of what the stream has",
            shares[0],
            f"nginx: {shares[1]}; {lost} lost; longest gap {gaps[0]}, {gaps[1]}",
        )


def _visit(home: Path, server: Server) -> Window:
    with Load(home, server.port) as load:
        load.ask(f"hls {VIEWERS} {PLAYLIST} {SEGMENT_SECONDS * 1000}")
        time.sleep(1.5 * SEGMENT_SECONDS)
        return watch(load, server, SECONDS)


@dataclass(slots=True)
class _Mirror:
    folder: Path
    bytes: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@contextmanager
def _mirrored(home: Path, server: Server) -> Iterator[_Mirror]:
    """Keep a folder that holds what the proxy offers, as files: one more viewer, whose bytes are counted."""
    mirror, over = _Mirror(home / "files"), threading.Event()
    place = mirror.folder / "hls" / "bench-0"
    place.mkdir(parents=True, exist_ok=True)

    def follow() -> None:
        while not over.wait(MIRROR_SECONDS):
            text = TOKEN.sub("", fetch("index.m3u8").decode())
            for name in re.findall(r"^\d+\.ts$", text, re.MULTILINE):
                if not (place / name).exists():
                    content = fetch(name)
                    mirror.bytes += len(content)
                    (place / name).write_bytes(content)
            (place / "next").write_text(text)
            (place / "next").replace(place / "index.m3u8")

    def fetch(name: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/hls/bench-0/{name}", timeout=20) as answer:
            content: bytes = answer.read()
            return content

    thread = threading.Thread(target=follow, name="mirror")
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not (place / "index.m3u8").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield mirror
    finally:
        over.set()
        thread.join()
