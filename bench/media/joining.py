"""Viewers who come to a stream that runs: how soon they have a byte, and whether the first picture can be shown."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.media import servers
from bench.media.tools import Load, Source, need
from bench.media.verdicts import judged
from bench.media.watching import OPEN_SECONDS, SETTLE_SECONDS
from bench.report import Row, milliseconds, percentile

OTHERS = 500
JOINS = 100
SPACING_MS = 60
STAY_BYTES = 1_500_000
"""More than a group of pictures."""
FIRST_BYTE_MAX = 0.020
PAT_START, PMT_SECOND = b"\x47\x40\x00", b"\x47"


def rows(home: Path, source: Source) -> Iterator[Row]:
    folder = home / "joins"
    folder.mkdir()
    with (
        servers.penstock(source.port) as penstock,
        Load(home, penstock.port) as others,
        Load(home, penstock.port) as load,
    ):
        others.ask(f"open {OTHERS} {penstock.path} 1 0 {OPEN_SECONDS}")
        time.sleep(SETTLE_SECONDS)
        told = load.ask(f"join {JOINS} {penstock.path} {SPACING_MS} {STAY_BYTES} {folder}")
    waited = [microseconds / 1e6 for microseconds in told["first_byte_us"]]
    worst = percentile(waited, 99) if waited else float("inf")
    yield judged(
        f"first byte of a joining viewer p99, {OTHERS} watching, {len(waited)} of {JOINS} joins", milliseconds(worst),
        f"p50 {milliseconds(percentile(waited, 50))}", target=f"≤ {FIRST_BYTE_MAX * 1000:.0f} ms",
        met=worst <= FIRST_BYTE_MAX and len(waited) == JOINS,
    )  # fmt: skip
    kept = sorted(folder.glob("*.ts"))
    shown = sum(_begins_with_a_picture(path) for path in kept)
    yield judged(
        "joins whose first picture is a key frame and decodes without an error", f"{shown} of {len(kept)}",
        "by ffprobe and ffmpeg, of every tenth join", target="all", met=shown == len(kept),
    )  # fmt: skip


def _begins_with_a_picture(path: Path) -> bool:
    """Whether tables come first, and what follows decodes from its first frame on."""
    head = path.read_bytes()[: 2 * 188]
    if head[:3] != PAT_START or head[188:189] != PMT_SECOND:
        return False
    told = subprocess.run(
        [need("ffprobe", "ffmpeg"), "-v", "error", "-select_streams", "v:0", "-show_frames", "-read_intervals", "%+#1",
         "-show_entries", "frame=key_frame,pict_type", "-of", "json", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    frames = json.loads(told.stdout or "{}").get("frames", [])
    decoded = subprocess.run(
        [need("ffmpeg", "ffmpeg"), "-v", "error", "-i", path, "-an", "-frames:v", "10", "-f", "null", "-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return bool(frames) and frames[0]["key_frame"] == 1 and not told.stderr and not decoded.stderr
