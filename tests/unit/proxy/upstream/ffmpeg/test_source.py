"""What ffmpeg is let read, how its ends are told, and that the child goes with its reader."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from proxy.contract import SessionSpec, Upstream
from proxy.errors import (
    SpecRefusedError,
    UpstreamAnswerError,
    UpstreamContentError,
    UpstreamForbiddenError,
    UpstreamLostError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from proxy.upstream import demo, kinds
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.ffmpeg import FfmpegPolicy, parse
from proxy.upstream.items import Reader
from proxy.upstream.kinds import LocalPolicy
from proxy.upstream.resolver import Resolver
from tests.fakes.rtmp import NOT_FOUND, REJECTED, rtmp_server
from tests.fakes.rtsp import PASSWORD, RtspServer, rtsp_server
from tests.fakes.senders import senders

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt-get install ffmpeg")


@pytest.fixture
def local(tmp_path: Path) -> LocalPolicy:
    return LocalPolicy(ffmpeg=FfmpegPolicy(files_dir=tmp_path))


@pytest.fixture
async def camera() -> AsyncIterator[RtspServer]:
    async with rtsp_server() as server:
        yield server


def read(url: str, local: LocalPolicy) -> Reader:
    return kinds.opener(HttpPolicy(), Resolver(), local)(Upstream(url=url))


async def everything(items: Reader) -> bytes:
    got = b""
    async with asyncio.timeout(20), aclosing(items):
        async for item in items:
            assert isinstance(item, bytes)
            got += item
    return got


def children() -> list[psutil.Process]:
    """Every ffmpeg below this process; other tests keep proxies and databases here."""
    return [child for child in psutil.Process().children(recursive=True) if child.name() == "ffmpeg"]


@needs_ffmpeg
async def test_a_file_is_played_to_its_end_at_the_speed_of_its_clock(local: LocalPolicy, tmp_path: Path):
    content = demo.load().content
    (tmp_path / "a clip.ts").write_bytes(content[: len(content) // 188 // 4 * 188])  # a quarter of 6.4 s
    began = asyncio.get_running_loop().time()
    media = await everything(read("file:a%20clip.ts", local))
    assert len(media) > len(content) // 5
    assert media[::188] == b"\x47" * (len(media) // 188)
    assert asyncio.get_running_loop().time() - began > 0.7  # newer ones begin with half a second at once
    assert children() == []


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing.ts", "there is no such file"),
        ("folder", "this is no file"),
        ("out", "only files below"),
        ("list.m3u8", "cannot be played"),
        ("script.ts", "cannot be played"),
        ("text.ts", "cannot be played"),
    ],
)
async def test_a_file_that_cannot_be_played_says_why(local: LocalPolicy, tmp_path: Path, name: str, words: str):
    (tmp_path / "folder").mkdir()
    (tmp_path / "out").symlink_to("/etc/hostname")
    (tmp_path / "clip.ts").write_bytes(demo.load().content)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:7\n#EXTINF:7,\nclip.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "script.ts").write_text("ffconcat version 1.0\nfile clip.ts\n")
    (tmp_path / "text.ts").write_text("words " * 1000)
    with pytest.raises((UpstreamForbiddenError, UpstreamContentError), match=words) as failure:
        await everything(read(f"file:{name}", local))
    assert failure.value.lasting
    assert str(tmp_path) not in failure.value.detail


@needs_ffmpeg
async def test_a_camera_is_read_and_told_goodbye(camera: RtspServer, local: LocalPolicy):
    got = b""
    async with asyncio.timeout(20), aclosing(read(camera.url(), local)) as items:
        async for item in items:
            assert isinstance(item, bytes)
            got += item
            if len(got) > 100_000:
                break
        (ffmpeg,) = children()
        assert PASSWORD not in " ".join(ffmpeg.cmdline())
        assert PASSWORD not in str(ffmpeg.environ())
    assert children() == []
    assert got[::188] == b"\x47" * len(got[::188])
    async with asyncio.timeout(5):
        await camera.left.wait()
    assert camera.asked["TEARDOWN"] == 1


@needs_ffmpeg
async def test_a_wrong_password_is_told_without_it(camera: RtspServer, local: LocalPolicy):
    with pytest.raises(UpstreamAnswerError, match="upstream answered 401 Unauthorized") as failure:
        await everything(read(camera.url("hunter2"), local))
    assert failure.value.lasting
    assert "hunter2" not in failure.value.detail


@needs_ffmpeg
@pytest.mark.parametrize(
    ("refusal", "lasting"),
    [("403 Forbidden", True), ("404 Stream Not Found", True), ("453 Not Enough Bandwidth", False), ("503 Busy", False)],
)
async def test_a_refusal_of_a_camera_is_its_status(
    camera: RtspServer, local: LocalPolicy, refusal: str, *, lasting: bool
):
    camera.refusal = refusal
    with pytest.raises(UpstreamAnswerError) as failure:
        await everything(read(camera.url(), local))
    assert failure.value.detail == f"upstream answered {refusal}"
    assert failure.value.lasting is lasting


@needs_ffmpeg
async def test_a_goodbye_of_a_camera_is_the_end(camera: RtspServer, local: LocalPolicy):
    async with asyncio.timeout(20), aclosing(read(camera.url(), local)) as items:
        await anext(items)
        camera.say_goodbye()
        async for _ in items:
            pass
    assert children() == []


@needs_ffmpeg
async def test_an_end_of_rtmp_is_told_from_a_loss_and_from_a_refusal(local: LocalPolicy):
    async with rtmp_server() as server:
        assert len(await everything(read(server.url(), local))) > 100_000

        server.ends = False
        with pytest.raises(UpstreamLostError, match="Input/output error"):
            await everything(read(server.url(), local))

        server.ends = True
        server.refusal = NOT_FOUND
        with pytest.raises(UpstreamRefusedError, match=r"Server error: \*\*\* is StreamNotFound") as failure:
            await everything(read(server.url(), local))
        server.refusal = REJECTED
        with pytest.raises(UpstreamRefusedError, match="Server error: not you"):
            await everything(read(server.url(), local))
    assert failure.value.lasting
    with pytest.raises(UpstreamUnreachableError, match="Connection refused") as unreachable:
        await everything(read(server.url(), local))
    assert not unreachable.value.lasting


@needs_ffmpeg
async def test_a_listener_of_srt_refuses_a_passphrase_and_has_an_end(local: LocalPolicy, tmp_path: Path):
    (tmp_path / "clip.ts").write_bytes(demo.load().content)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"srt://127.0.0.1:{free.getsockname()[1]}"
    sent = ("-re", "-f", "mpegts", "-i", str(tmp_path / "clip.ts"), "-t", "1.5", "-c", "copy", "-f", "mpegts")
    async with senders() as here:
        for query, words in (
            ("?passphrase=wrong-hunter2", "upstream refused: wrong passphrase"),
            ("", "upstream refused: one side has a passphrase, the other has none"),
        ):
            listener = await here.run(*sent, f"{address}?mode=listener&passphrase=hunter2hunter2")
            with pytest.raises(UpstreamRefusedError) as failure:
                await everything(read(address + query, local))
            assert failure.value.detail == words
            listener.kill()
            await listener.wait()
        await here.run(*sent, f"{address}?mode=listener&passphrase=hunter2hunter2")
        assert len(await everything(read(f"{address}?passphrase=hunter2hunter2", local))) > 20_000


@needs_ffmpeg
async def test_a_child_that_is_killed_is_a_loss(camera: RtspServer, local: LocalPolicy):
    async with asyncio.timeout(20), aclosing(read(camera.url(), local)) as items:
        await anext(items)
        os.kill(children()[0].pid, signal.SIGKILL)
        with pytest.raises(UpstreamLostError, match="ended by SIGKILL"):
            async for _ in items:
                pass
    assert children() == []


@needs_ffmpeg
async def test_a_server_that_goes_is_a_loss_and_no_end(camera: RtspServer, local: LocalPolicy):
    async with asyncio.timeout(20), aclosing(read(camera.url(), local)) as items:
        await anext(items)
        camera.drop()
        with pytest.raises(UpstreamLostError, match="closed by the other side"):
            async for _ in items:
                pass


@needs_ffmpeg
async def test_one_that_never_answers_is_ended_with_its_reader(local: LocalPolicy):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await everything(read(f"rtmp://127.0.0.1:{silent.getsockname()[1]}/app/key", local))
    assert children() == []


@needs_ffmpeg
@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("rtsp://169.254.169.254/x", {}, "link-local"),
        ("srt://[fe80::1]:9000", {}, "link-local"),
        ("rtmp:///app/key", {}, "neither an address nor a name"),
        ("rtmp://a,b/app/key", {}, "neither an address nor a name"),
        ("rtsp://cam:99999/x", {}, "cannot be read"),
        ("srt://cam", {}, "needs a port"),
        ("rtsp://cam/x\nfile 'y'", {}, "control character"),
        ("rtsp://cam/x", {"A": "b"}, "request headers"),
        ("file:///etc/passwd", {}, "only files below"),
        ("file:../secret.ts", {}, "only files below"),
        ("file:%2e%2e/secret.ts", {}, "only files below"),
        ("file:.", {}, "only files below"),
        ("file:a%00b.ts", {}, "only files below"),
        ("file://other/clip.ts", {}, "of this machine"),
        ("file:clip.ts?x", {}, "%3F"),
    ],
)
def test_what_may_not_be_read_is_refused_beforehand(local: LocalPolicy, url: str, headers: dict[str, str], words: str):
    spec = SessionSpec(key="cam", upstreams=(Upstream(url=url, headers=headers),))
    with pytest.raises(SpecRefusedError, match=words):
        kinds.check(spec, HttpPolicy(), local)


@needs_ffmpeg
@pytest.mark.parametrize(
    "form", ["file:deep/clip.ts", "file:{}/clip.ts", "file://{}/clip.ts", "file://localhost{}/clip.ts"]
)
def test_a_file_is_named_from_the_folder_or_from_the_root(local: LocalPolicy, tmp_path: Path, form: str):
    assert tmp_path in parse(form.format(tmp_path), local.ffmpeg).path.parents


def test_files_are_off_unless_a_folder_is_set():
    with pytest.raises(UpstreamForbiddenError, match="PENSTOCK_PROXY_FILES_DIR is not set"):
        parse("file:clip.ts", FfmpegPolicy(program="true"))


@pytest.mark.parametrize("url", ["rtsp://cam/x", "file:clip.ts"])
def test_where_ffmpeg_is_missing_its_package_is_named(url: str, tmp_path: Path):
    spec = SessionSpec(key="cam", upstreams=(Upstream(url=url),))
    missing = LocalPolicy(ffmpeg=FfmpegPolicy(program="ffmpeg-that-is-not-there", files_dir=tmp_path))
    with pytest.raises(SpecRefusedError, match=r"needs ffmpeg, which is not installed here \(Debian: package ffmpeg\)"):
        kinds.check(spec, HttpPolicy(), missing)


@needs_ffmpeg
async def test_a_name_that_leads_to_a_forbidden_address_starts_nothing(
    local: LocalPolicy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(socket.AF_INET, 1, 6, "", ("169.254.169.254", 0))])
    with pytest.raises(UpstreamForbiddenError, match="link-local"):
        await everything(read("rtsp://metadata.lan/x", local))
    monkeypatch.undo()
    with pytest.raises(UpstreamUnreachableError, match="name not found"):
        await everything(read("rtsp://nothing-here.invalid/x", local))
    assert children() == []
