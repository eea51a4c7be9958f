"""HLS as an upstream: segments in order, breaks where something is missing, an end where the list has one."""

import asyncio

import pytest

from proxy.errors import UpstreamAnswerError, UpstreamError
from proxy.upstream.items import Discontinuity, FragmentBegins, FragmentEnds, Item
from tests.fakes.hls_lists import encrypted, live
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


FIRST, SECOND = b"\0\0\0\x0cftypiso6", b"\0\0\0\x0cftypcmf2"
ENDS = FragmentEnds(SECONDS)


def fragment(number: int) -> bytes:
    return b"\0\0\0\x09moof%d" % number


def played(number: int, initialisation: bytes = FIRST) -> list[Item]:
    return [FragmentBegins(initialisation, target_seconds=1.0), fragment(number), ENDS]


def fragments(upstream: FakeUpstream, count: int) -> None:
    upstream.segments |= {f"s{number}.ts": fragment(number) for number in range(count)}
    upstream.segments |= {"a.mp4": FIRST, "b.mp4": SECOND}


async def test_fragments_come_whole_each_with_its_initialisation(upstream: FakeUpstream, pull):
    tags = {0: '#EXT-X-MAP:URI="a.mp4"', 2: '#EXT-X-MAP:URI="b.mp4"'}
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags=tags)
    fragments(upstream, 3)
    assert await pull() == played(0) + played(1) + played(2, SECOND)
    assert (upstream.requests["/a.mp4"], upstream.requests["/b.mp4"]) == (1, 1)


async def test_after_a_break_the_initialisation_is_fetched_again(upstream: FakeUpstream, pull):
    tags = {0: '#EXT-X-MAP:URI="a.mp4"', 1: "#EXT-X-DISCONTINUITY"}
    upstream.playlists["index.m3u8"] = live(0, 2, ended=True, seconds=SECONDS, tags=tags)
    fragments(upstream, 2)
    assert await pull() == [*played(0), BREAK, *played(1)]
    assert upstream.requests["/a.mp4"] == 2


async def test_an_initialisation_may_be_a_part_of_the_same_resource_and_encrypted(upstream: FakeUpstream, pull):
    key, iv = bytes(range(16)), bytes(16)
    stored = encrypted(FIRST, key, iv), encrypted(fragment(7), key, (7).to_bytes(16))
    upstream.segments = {"k": key, "all.mp4": stored[0] + stored[1]}
    upstream.playlists["index.m3u8"] = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:7\n"
        f'#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x{iv.hex()}\n'
        f'#EXT-X-MAP:URI="all.mp4",BYTERANGE="{len(stored[0])}@0"\n'
        f'#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:{SECONDS},\n'
        f"#EXT-X-BYTERANGE:{len(stored[1])}@{len(stored[0])}\nall.mp4\n#EXT-X-ENDLIST"
    )
    assert await pull() == played(7)


async def test_a_fragment_that_is_something_else_is_a_break(upstream: FakeUpstream, pull):
    tags = {0: '#EXT-X-MAP:URI="a.mp4"'}
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags=tags)
    fragments(upstream, 3)
    upstream.segments["s1.ts"] = b"<html>sorry</html>"
    assert await pull() == [*played(0), BREAK, *played(2)]


async def test_tables_of_mpeg_ts_may_stand_in_an_initialisation(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 2, ended=True, seconds=SECONDS, tags={0: '#EXT-X-MAP:URI="pat"'})
    upstream.segments = {"pat": b"\x47tables", "s0.ts": b"0", "s1.ts": b"1"}
    assert await pull() == [b"\x47tables01"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"<html>sorry</html>", "an HTML page"), (b"\0" * 100, "something unknown"), (bytes(100_000), "too large")],
)
async def test_what_is_no_initialisation_fails_the_upstream(upstream: FakeUpstream, pull, content: bytes, words: str):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags={0: '#EXT-X-MAP:URI="a.mp4"'})
    upstream.segments = {f"s{number}.ts": fragment(number) for number in range(3)} | {"a.mp4": content}
    with pytest.raises(UpstreamError, match=words):
        await pull()
