"""Fragmented MP4 as ffmpeg cuts it for HLS."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import m3u8
import pytest


@cache
def fragments(seconds: int = 4) -> tuple[bytes, tuple[tuple[bytes, float], ...]]:
    """Return an initialisation, and segments of a second each with how long they play."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is missing: apt-get install ffmpeg")
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [
                *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"),
                *("-f", "lavfi", "-i", "sine=440", "-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast"),
                *("-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "hls", "-hls_segment_type", "fmp4"),
                *("-hls_time", "1", "-hls_list_size", "0", "all.m3u8"),
            ],
            cwd=home,
            check=True,
        )
        listed = m3u8.load(str(Path(home) / "all.m3u8"))
        found = [((Path(home) / one.uri).read_bytes(), float(one.duration)) for one in listed.segments]
        return (Path(home) / "init.mp4").read_bytes(), tuple(found)


def mp4_errors(media: bytes) -> str:
    """Return what ffmpeg says about a whole MP4 at error level."""
    command = ["ffmpeg", "-v", "error", "-f", "mp4", "-i", "-", "-f", "null", "-"]
    return subprocess.run(command, input=media, capture_output=True, check=True).stderr.decode()
