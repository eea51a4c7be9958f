"""HLS as an upstream: which segments come next, and what playlists are not taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from yarl import URL

from proxy.contract import Upstream
from proxy.errors import UpstreamAnswerError, UpstreamContentError, UpstreamError
from proxy.upstream import hls, kinds
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.items import Discontinuity, Quiet
from proxy.upstream.resolver import Resolver
from tests.fakes.upstream import FakeUpstream, fake_upstream

BASE = URL("http://cam.lan/live/index.m3u8")


def live(first: int, count: int, *, ended: bool = False, tags: dict[int, str] | None = None) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number in range(first, first + count):
        lines += [(tags or {}).get(number, ""), "#EXTINF:0.1,", f"s{number}.ts"]
    return "\n".join([*(line for line in lines if line), *(["#EXT-X-ENDLIST"] if ended else [])])


def listed(first: int, count: int, *, ended: bool = False, tags: dict[int, str] | None = None) -> hls.Playlist:
    return hls.parse_media(live(first, count, ended=ended, tags=tags), BASE)


def numbers(cursor: hls.Cursor, playlist: hls.Playlist) -> list[int]:
    due, _ = cursor.due(playlist)
    for segment in due:
        cursor.passed(segment)
    return [segment.number for segment in due]


def test_a_live_playlist_is_joined_three_segments_before_its_end():
    assert numbers(hls.Cursor(), listed(10, 6)) == [13, 14, 15]


def test_a_playlist_with_an_end_is_read_from_its_beginning():
    assert numbers(hls.Cursor(), listed(0, 6, ended=True)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("late_by", [0, 1, 2, 3])
def test_a_late_poll_neither_skips_nor_repeats(late_by: int):
    cursor = hls.Cursor()
    got = numbers(cursor, listed(10, 6))
    for first in range(10 + late_by, 40, late_by + 1):
        got += numbers(cursor, listed(first, 6))
    assert got == list(range(13, got[-1] + 1))


def test_what_the_window_dropped_meanwhile_is_reported_as_lost():
    cursor = hls.Cursor()
    numbers(cursor, listed(10, 6))
    due, lost = cursor.due(listed(20, 6))
    assert (due[0].number, lost) == (20, True)


def test_an_old_copy_of_the_playlist_is_waited_out():
    cursor = hls.Cursor()
    numbers(cursor, listed(10, 6))
    assert numbers(cursor, listed(8, 6)) == []
    assert numbers(cursor, listed(11, 6)) == [16]


def test_numbers_that_go_back_for_good_are_a_new_run():
    cursor = hls.Cursor()
    numbers(cursor, listed(100, 6))
    polls = [cursor.due(listed(0, 4)) for _ in range(hls.BACKWARD_POLLS_MAX)]
    assert [len(due) for due, _ in polls] == [0, 0, 3]
    assert polls[-1][1]


def test_byte_ranges_follow_each_other():
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n#EXT-X-BYTERANGE:100@50\nall.ts\n"
        "#EXTINF:1,\n#EXT-X-BYTERANGE:30\nall.ts\n#EXT-X-ENDLIST"
    )
    segments = hls.parse_media(text, BASE).segments
    assert [(segment.offset, segment.size) for segment in segments] == [(50, 100), (150, 30)]
    assert str(segments[0].url) == "http://cam.lan/live/all.ts"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html></html>", "HTML"),
        ("", "not a playlist"),
        ('#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:1,\ns.ts\n', "encrypted"),
        ('#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI="i.mp4"\n#EXTINF:1,\ns.m4s\n', "MP4"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "variants"),
        ("#EXTM3U\n#EXTINF:abc,\ns.ts\n", "cannot be read"),
        ("#EXTM3U\n#EXT-X-BYTERANGE:x@y\n#EXTINF:1,\ns.ts\n", "byte range"),
        ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "file"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(text: str, words: str):
    with pytest.raises(UpstreamError, match=words):
        hls.parse_media(text, BASE)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


async def pull(upstream: FakeUpstream, path: str = "/index.m3u8") -> list[bytes | Discontinuity]:
    policy = HttpPolicy(read_timeout_seconds=1)
    got: list[bytes | Discontinuity] = []
    async with aclosing(kinds.opener(policy, Resolver())(Upstream(url=upstream.url(path)))) as items:
        async for item in items:
            if isinstance(item, Quiet):
                continue
            if isinstance(item, bytes) and got and isinstance(got[-1], bytes):
                got[-1] += item
            else:
                got.append(item)
    return got


async def test_segments_come_in_order_and_the_reader_ends_with_the_list(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, tags={2: "#EXT-X-DISCONTINUITY"})
    upstream.segments |= {f"s{number}.ts": b"%d" % number * 10 for number in range(3)}
    assert await pull(upstream) == [b"0" * 10 + b"1" * 10, Discontinuity(), b"2" * 10]
    assert upstream.open_most == 1


async def test_a_live_list_is_polled_until_it_ends(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = live(0, 3)
    upstream.segments |= {f"s{number}.ts": b"%d" % number for number in range(9)}
    async with asyncio.TaskGroup() as group:
        pulling = group.create_task(pull(upstream))
        await upstream.asked.setdefault("/s2.ts", asyncio.Event()).wait()
        upstream.playlists["index.m3u8"] = live(3, 6, ended=True)
    assert pulling.result() == [b"012345678"]
    assert max(count for path, count in upstream.requests.items() if path.startswith("/s")) == 1


async def test_a_segment_that_is_missing_is_a_discontinuity(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True)
    upstream.segments |= {"s0.ts": b"0", "s2.ts": b"2"}
    assert await pull(upstream) == [b"0", Discontinuity(), b"2"]


async def test_segments_that_are_all_missing_fail_the_upstream(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = live(0, 5, ended=True)
    with pytest.raises(UpstreamAnswerError, match="404"):
        await pull(upstream)


@pytest.mark.parametrize("ranges", [True, False], ids=["server knows ranges", "server does not"])
async def test_byte_ranges_are_cut_out(upstream: FakeUpstream, ranges: bool):
    upstream.ranges = ranges
    upstream.segments["all.ts"] = bytes(range(200))
    upstream.playlists["index.m3u8"] = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n#EXT-X-BYTERANGE:20@10\nall.ts\n"
        "#EXTINF:1,\n#EXT-X-BYTERANGE:5\nall.ts\n#EXT-X-ENDLIST"
    )
    assert await pull(upstream) == [bytes(range(10, 35))]


async def test_the_richest_variant_with_its_own_audio_is_taken(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="audio.m3u8"\n'
        "#EXT-X-STREAM-INF:BANDWIDTH=100\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=900\nhigh.m3u8\n"
        '#EXT-X-STREAM-INF:BANDWIDTH=9000,AUDIO="a"\nsplit.m3u8\n'
    )
    upstream.playlists["high.m3u8"] = live(7, 1, ended=True)
    upstream.segments["s7.ts"] = b"high"
    assert await pull(upstream) == [b"high"]


async def test_audio_in_separate_renditions_alone_is_refused(upstream: FakeUpstream):
    upstream.playlists["index.m3u8"] = (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="audio.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=9000,AUDIO="a"\nsplit.m3u8\n'
    )
    with pytest.raises(UpstreamContentError, match="separate"):
        await pull(upstream)
