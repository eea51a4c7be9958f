"""HLS as an upstream: segments in order, breaks where something is missing, an end where the list has one."""

import asyncio

import pytest

from proxy.errors import UpstreamAnswerError, UpstreamError
from proxy.upstream.items import Discontinuity
from tests.fakes.hls_lists import live
from tests.fakes.upstream import FakeUpstream

BREAK = Discontinuity()
SECONDS = 0.1
MASTER = (
    '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="audio.m3u8"\n'
    "#EXT-X-STREAM-INF:BANDWIDTH=100\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=900\nhigh.m3u8\n"
    '#EXT-X-STREAM-INF:BANDWIDTH=9000,AUDIO="a"\nsplit.m3u8\n'
)


def segments(upstream: FakeUpstream, count: int) -> None:
    upstream.segments |= {f"s{number}.ts": b"%d" % number for number in range(count)}


async def test_segments_come_in_order_and_the_reader_ends_with_the_list(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags={2: "#EXT-X-DISCONTINUITY"})
    segments(upstream, 3)
    assert await pull() == [b"01", BREAK, b"2"]
    assert upstream.open_most == 1
    assert upstream.requests["/index.m3u8"] == 1


async def test_a_live_list_is_polled_until_it_ends(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 3, seconds=SECONDS)
    segments(upstream, 9)
    async with asyncio.TaskGroup() as group:
        pulling = group.create_task(pull())
        await upstream.asked.setdefault("/s2.ts", asyncio.Event()).wait()
        upstream.playlists["index.m3u8"] = live(3, 6, ended=True, seconds=SECONDS)
    assert pulling.result() == [b"012345678"]
    assert max(count for path, count in upstream.requests.items() if path.startswith("/s")) == 1


async def test_a_window_that_has_slid_on_is_a_break(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 2, seconds=SECONDS)
    segments(upstream, 9)
    async with asyncio.TaskGroup() as group:
        pulling = group.create_task(pull())
        await upstream.asked.setdefault("/s1.ts", asyncio.Event()).wait()
        upstream.playlists["index.m3u8"] = live(6, 2, ended=True, seconds=SECONDS)
    assert pulling.result() == [b"01", BREAK, b"67"]


async def test_a_segment_that_is_missing_is_a_break(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS)
    upstream.segments |= {"s0.ts": b"0", "s2.ts": b"2"}
    assert await pull() == [b"0", BREAK, b"2"]


async def test_a_gap_is_a_break_and_is_not_asked_for(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags={1: "#EXT-X-GAP"})
    segments(upstream, 3)
    assert await pull() == [b"0", BREAK, b"2"]
    assert upstream.requests["/s1.ts"] == 0


async def test_segments_that_are_all_missing_fail_the_upstream(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 5, ended=True, seconds=SECONDS)
    with pytest.raises(UpstreamAnswerError, match="404"):
        await pull()
    assert [upstream.requests[f"/s{number}.ts"] for number in range(5)] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(("fragment", "name"), [("", "high"), ("#variant=lowest", "low"), ("#variant=500", "low")])
async def test_the_variant_that_is_asked_for_is_taken(upstream: FakeUpstream, pull, fragment: str, name: str):
    upstream.playlists["index.m3u8"] = MASTER
    upstream.playlists[f"{name}.m3u8"] = live(7, 1, ended=True, seconds=SECONDS)
    upstream.segments["s7.ts"] = name.encode()
    assert await pull("/index.m3u8" + fragment) == [name.encode()]


@pytest.mark.parametrize(
    ("playlist", "fragment", "words"),
    [
        (MASTER, "#variant=best", "variant="),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nindex.m3u8\n", "", "another list"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nfile:///etc/passwd\n", "", "'file'"),
        (live(0, 1, tags={0: '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"'}), "", "SAMPLE-AES"),
        ("nothing", "", "not a playlist"),
    ],
)
async def test_what_cannot_be_pulled_is_refused_by_name(
    upstream: FakeUpstream, pull, playlist: str, fragment: str, words: str
):
    upstream.playlists["index.m3u8"] = playlist
    with pytest.raises(UpstreamError, match=words) as failure:
        await pull("/index.m3u8" + fragment)
    assert failure.value.lasting
