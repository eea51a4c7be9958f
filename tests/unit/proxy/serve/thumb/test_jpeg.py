"""The child that makes a picture: real ffmpeg on real media, and what it may not do."""

import asyncio
import shutil
import stat
from pathlib import Path

import pytest

from proxy.core.feed import Feed
from proxy.core.stills import Still
from proxy.serve.thumb import jpeg
from proxy.serve.thumb.jpeg import PictureError, ProgramMissingError, encode
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.viewing import MIB, clip

JPEG = b"\xff\xd8\xff"

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is missing: apt-get install ffmpeg")


def still(codec: str) -> Still:
    feed = Feed(ring_bytes_max=16 * MIB, new_segment=MemorySegment, hls=False)
    media = clip(3, codec)
    for at in range(0, len(media), 64 * 1024):
        feed.write(media[at : at + 64 * 1024], 0.0, 0.0)
    found = feed.key_picture()
    assert found is not None
    return found


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
async def test_one_picture_is_enough(codec: str) -> None:
    picture = await encode(still(codec).alone, "ffmpeg")
    assert picture.startswith(JPEG)
    assert 1000 < len(picture) < 100_000


@needs_ffmpeg
async def test_what_holds_no_picture_is_told() -> None:
    with pytest.raises(PictureError, match="could not decode the picture: "):
        await encode(still("libx264").alone[: 188 * 2], "ffmpeg")


@needs_ffmpeg
async def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MEMORY_BYTES_MAX", 1024 * 1024)
    with pytest.raises(PictureError):
        await encode(still("libx264").alone, "ffmpeg")


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProgramMissingError, match="no-such-program"):
        await encode(b"", "no-such-program")


def script(folder: Path, text: str) -> str:
    """A program in the place of ffmpeg."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_it_is_told_nothing_and_may_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PROXY_CONTROL_TOKEN", "hunter2")
    told = "cat >/dev/null; trap '' XFSZ; env; ulimit -v; ulimit -n; ulimit -f; pwd; nice"
    program = script(tmp_path, f"{told}; echo words >{tmp_path}/written || echo refused")
    said = (await encode(b"media", program)).decode()
    assert "PENSTOCK" not in said
    memory, files = str(jpeg.MEMORY_BYTES_MAX // 1024), str(jpeg.FILES_MAX)
    assert said.splitlines()[-6:] == [memory, files, "0", "/", str(jpeg.NICENESS), "refused"]
    assert (tmp_path / "written").read_bytes() == b""


async def test_one_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "SECONDS_MAX", 0.2)
    before = children()
    with pytest.raises(PictureError, match="longer than"):
        await encode(b"media", script(tmp_path, "exec sleep 60"))
    assert children() == before


async def test_whoever_goes_away_takes_it_along(tmp_path: Path) -> None:
    before = children()
    async with asyncio.TaskGroup() as group:
        making = group.create_task(encode(b"media", script(tmp_path, "exec sleep 60")))
        async with asyncio.timeout(5):
            while children() == before:  # noqa: ASYNC110 - a process rings no bell
                await asyncio.sleep(0.01)
        making.cancel()
    assert children() == before


def children() -> set[str]:
    """The processes that this one has started and that are not gone."""
    lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    return {pid for found in lists for pid in found.split()}
