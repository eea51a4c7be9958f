"""HLS in, through the real proxy process: what ffmpeg makes, and what a bad origin does."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import aiohttp
import m3u8
import pytest

from proxy import contract
from proxy.upstream import demo
from tests.fakes import hls_origin
from tests.fakes.fragmented import fragments
from tests.fakes.hls_lists import encrypted, live
from tests.fakes.provider import Provider, provider
from tests.fakes.proxy_process import Proxy, real_proxy, until
from tests.fakes.upstream import FakeUpstream, fake_upstream
from tests.fakes.viewing import decode_errors

PACKET = 188
KEY = bytes(range(16))


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


async def read(answer: aiohttp.ClientResponse, size: int, seconds: float = 10) -> bytes:
    async with asyncio.timeout(seconds):
        media = await answer.content.readexactly(size // PACKET * PACKET)
    assert media[::PACKET] == b"\x47" * (len(media) // PACKET)
    return media


def whole_pictures(media: bytes) -> bytes:
    """Cut off the picture that is not complete."""
    at = max(at for at in range(0, len(media), PACKET) if media[at + 1] == 0x41 and media[at + 2] == 0)
    return media[:at]


def jumps(media: bytes) -> int:
    """Packets that announce a jump and carry nothing else."""
    starts = range(0, len(media), PACKET)
    return sum(media[at + 3] & 0x30 == 0x20 and media[at + 4] == 183 and bool(media[at + 5] & 0x80) for at in starts)


async def jumps_until(answer: aiohttp.ClientResponse, enough: int) -> int:
    """Read whole packets until so many jumps have been announced in them."""
    found = 0
    while found < enough:
        found += jumps(await read(answer, 64 * PACKET))
    return found


async def watch(proxy: Proxy, kind: str) -> None:
    """See that MPEG-TS decodes from the first byte on, or, of fragmented MP4, be told where to go."""
    async with proxy.http.get(f"{proxy.url}/ts/{kind}") as answer:
        if kind == "mp4":
            assert answer.status == 406
            assert "/hls/mp4/index.m3u8" in contract.Problem.model_validate_json(await answer.text()).detail
            return
        media = await read(answer, 300_000, 40)
    assert await asyncio.to_thread(decode_errors, whole_pictures(media)) == ""
    assert jumps(media) == 0


async def play(proxy: Proxy, kind: str) -> None:
    """See that ffmpeg plays what is served as HLS for a while, and finds nothing wrong with it."""
    player = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-v", "error", "-i", f"{proxy.url}/hls/{kind}/index.m3u8", "-t", "5", "-f", "null", "-"),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await player.communicate()
    assert (player.returncode, said) == (0, b"")


async def test_what_ffmpeg_makes_plays_as_it_is_encrypted_and_as_fragments(tmp_path):
    if hls_origin.FFMPEG is None:
        pytest.skip(hls_origin.MISSING)
    async with hls_origin.hls_origin(tmp_path) as origin, real_proxy() as proxy:

        async def ready() -> bool:
            return all(origin.ready(kind) for kind in hls_origin.KINDS)

        await until(ready, 40)
        now = asyncio.get_running_loop().time
        began = now()
        for kind in hls_origin.KINDS:
            await proxy.ensure(origin.url(kind), key=kind)
        async with asyncio.TaskGroup() as group:
            for kind in hls_origin.KINDS:
                group.create_task(watch(proxy, kind))
            group.create_task(play(proxy, "mp4"))
        polls = origin.requests["/plain/live.m3u8"]
        assert 1 < polls <= 2 * (now() - began) + 2  # their target is a second; half of it when nothing is new
        segments = {path: count for path, count in origin.requests.items() if not path.endswith(".m3u8")}
        assert set(segments.values()) == {1}
        assert sum(path.endswith(".key") for path in segments) > 1
        views = [await proxy.view(kind) for kind in hls_origin.KINDS]
        assert [(view.resyncs, view.connects) for view in views] == [(0, 1)] * 3
        async with provider() as preferred:
            await change_medium_and_back(proxy, preferred, origin.url("mp4"))


async def change_medium_and_back(proxy: Proxy, preferred: Provider, fragmented: str) -> None:
    """Fail over from MPEG-TS to fragmented MP4, and return by policy."""
    await proxy.ensure(preferred.url("/a"), fragmented, key="both", return_after_seconds=1, loop="allow")
    async with proxy.http.get(f"{proxy.url}/ts/both") as watching:
        await read(watching, 100_000)
        seen = [await listing(proxy, "both", ".ts")]
        preferred.is_down = True
        preferred.cut()
        media = await watching.content.read()  # to the end, which has to come
    assert media[::PACKET] == b"\x47" * (len(media) // PACKET)
    seen.append(await listing(proxy, "both", ".m4s"))
    async with proxy.http.get(f"{proxy.url}/ts/both") as answer:
        assert answer.status == 406
    preferred.is_down = False
    seen.append(await listing(proxy, "both", ".ts"))
    async with proxy.http.get(f"{proxy.url}/ts/both") as answer:
        await read(answer, 100_000)
    assert (await proxy.view("both")).upstream_index == 0
    for former, latter in itertools.pairwise(seen):
        told = sum(bool(segment.discontinuity) for segment in former.segments)
        assert latter.segments[0].discontinuity
        assert (latter.discontinuity_sequence or 0) >= (former.discontinuity_sequence or 0) + told
        assert latter.media_sequence > former.media_sequence + len(former.segments) - 1


async def listing(proxy: Proxy, key: str, ending: str) -> m3u8.M3U8:
    """Return the playlist once all of its segments have this ending."""
    async with asyncio.timeout(15):
        while True:
            async with proxy.http.get(f"{proxy.url}/hls/{key}/index.m3u8") as answer:
                assert answer.status == 200
                shown = m3u8.M3U8(await answer.text(), strict=True)
            endings = {"." + segment.uri.partition("?")[0].partition(".")[2] for segment in shown.segments}
            assert len(endings) == 1
            if endings == {ending}:
                return shown
            await asyncio.sleep(0.1)


async def test_breaks_of_an_origin_are_told_to_both_kinds_of_viewers(upstream: FakeUpstream):
    clip = demo.load()
    tags = {
        0: '#EXT-X-KEY:METHOD=AES-128,URI="key"',
        1: "#EXT-X-KEY:METHOD=NONE",
        2: "#EXT-X-DISCONTINUITY",
        3: "#EXT-X-GAP",
    }
    upstream.playlists["index.m3u8"] = live(0, 5, tags=tags).replace("DURATION:1", "DURATION:2")
    upstream.segments = {f"s{number}.ts": clip.round(number % 2) for number in range(1, 9)}
    upstream.segments |= {"key": KEY, "s0.ts": encrypted(clip.round(0), KEY, bytes(16))}
    async with real_proxy() as proxy:
        await proxy.ensure(upstream.url("/index.m3u8"))
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert await jumps_until(answer, 8) >= 8  # before segments 2 and 4, on every PID
            upstream.playlists["index.m3u8"] = live(0, 2, tags=tags)  # the encoder has begun anew
            assert await jumps_until(answer, 4) >= 4
        async with proxy.http.get(f"{proxy.url}/hls/cam/index.m3u8") as listed:
            playlist = m3u8.loads(await listed.text())
        breaks = sum(bool(segment.discontinuity) for segment in playlist.segments)
        assert (playlist.discontinuity_sequence or 0) + breaks == 3
        view = await proxy.view()
        assert (view.resyncs, view.connects) == (0, 1)
    assert upstream.requests["/s3.ts"] == 0


async def test_an_upstream_that_changes_its_medium_is_followed_without_a_restart(upstream: FakeUpstream):
    clip, (initialisation, pieces) = demo.load(), fragments()
    upstream.segments = {f"s{number}.ts": clip.round(number % 2) for number in range(15)}
    upstream.segments |= {f"s{number}.m4s": pieces[number % 4][0] for number in range(15)}
    upstream.segments["init.mp4"] = initialisation
    mapped = live(5, 5, tags={5: '#EXT-X-MAP:URI="init.mp4"'}).replace(".ts", ".m4s")
    upstream.playlists["index.m3u8"] = live(0, 5)
    async with real_proxy(HLS_SEGMENT_SECONDS="1") as proxy:
        await proxy.ensure(upstream.url("/index.m3u8"), on_demand=False)
        await listing(proxy, "cam", ".ts")
        for playlist, ending, status in ((mapped, ".m4s", 406), (live(10, 5), ".ts", 200)):
            upstream.playlists["index.m3u8"] = playlist
            await listing(proxy, "cam", ending)
            async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
                assert answer.status == status
