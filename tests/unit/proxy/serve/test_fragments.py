"""An upstream of fragmented MP4: what viewers of HLS get, and what viewers of MPEG-TS are told."""

import asyncio
import json

import m3u8
import pytest

from proxy.upstream.items import Discontinuity, FragmentBegins, FragmentEnds
from tests.fakes.fragmented import fragments, mp4_errors
from tests.fakes.viewing import Answer, Place, clip, place, until

MP4 = "video/mp4"


@pytest.fixture(autouse=True)
def made() -> None:
    """What ffmpeg makes is made before the clock of a story begins."""
    fragments()
    clip(3)


def pour(here: Place, *, last: bool = False) -> None:
    initialisation, segments = fragments()
    for media, seconds in segments[-1:] if last else segments[:-1]:
        for item in (FragmentBegins(initialisation), media[:1000], media[1000:], FragmentEnds(seconds)):
            here.tap.chunks.put_nowait(item)


async def body(answer: Answer) -> bytes:
    return await answer.exactly(int(answer.headers["content-length"]))


async def playlist(here: Place) -> m3u8.M3U8:
    answer = await here.ask("/hls/cam/index.m3u8", Cookie="penstock_viewer=AAAAAAAAAAAAAAAA")
    assert answer.status == 200
    return m3u8.loads((await body(answer)).decode())


def test_viewers_of_hls_get_the_segments_as_they_came(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            asking = asyncio.ensure_future(playlist(here))
            await until(lambda: len(session.viewers) == 1)
            pour(here)
            await asking
            await until(here.tap.chunks.empty)
            shown = await playlist(here)
            initialisation, segments = fragments()
            assert (shown.version, len(shown.segments), len(shown.segment_map)) == (7, 3, 1)
            assert [segment.duration for segment in shown.segments] == [seconds for _, seconds in segments[:-1]]
            parts = []
            for uri in (shown.segment_map[0].uri, *(segment.uri for segment in shown.segments)):
                seen = await here.ask(f"/hls/cam/{uri}", "HEAD")
                got = await here.ask(f"/hls/cam/{uri}")
                assert (got.status, got.headers["content-type"], seen.headers["content-type"]) == (200, MP4, MP4)
                assert got.headers["content-length"] == seen.headers["content-length"]
                assert got.headers["access-control-allow-origin"] == "*"
                parts.append(await body(got))
            assert parts == [initialisation, *(media for media, _ in segments[:-1])]
            assert mp4_errors(b"".join(parts)) == ""

    run(story)


def test_a_break_is_told_and_the_list_goes_on(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", on_demand=False)
            pour(here)
            here.tap.chunks.put_nowait(Discontinuity())
            pour(here, last=True)
            await until(here.tap.chunks.empty)
            shown = await playlist(here)
            assert [bool(segment.discontinuity) for segment in shown.segments] == [False, False, False, True]
            assert len({segment.init_section.uri for segment in shown.segments}) == 1

    run(story)


def test_viewers_of_mpeg_ts_are_told_as_soon_as_it_is_known(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            asking = asyncio.ensure_future(here.ask("/ts/cam"))
            await until(lambda: len(session.viewers) == 1)
            pour(here)
            refused = await asking
            problem = json.loads(await body(refused))
            assert (refused.status, problem["status"]) == (406, 406)
            assert "fragmented MP4" in problem["detail"]
            assert "/hls/cam/index.m3u8" in problem["detail"]
            assert not session.viewers
            await playlist(here)
            assert (await here.ask("/ts/cam", "HEAD")).status == 406
            assert (await here.ask("/ts/cam")).status == 406
            assert len(session.viewers) == 1  # the one of HLS

    run(story)


def test_names_of_other_kinds_stand_for_nothing(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", on_demand=False)
            pour(here)
            await until(here.tap.chunks.empty)
            shown = await playlist(here)
            first = shown.segments[0].uri.split(".")[0]
            for name in (f"{first}.ts", f"{int(first) + 1}.mp4", f"{first}.m4v", "1.m4s"):
                assert (await here.ask(f"/hls/cam/{name}")).status == 404

    run(story)


async def listing(here: Place, first: str) -> m3u8.M3U8:
    """Return the playlist once its first segment has this ending."""
    async with asyncio.timeout(5):
        while True:
            shown = await playlist(here)
            if shown.segments[0].uri.partition("?")[0].endswith(first):
                return shown
            await asyncio.sleep(0.05)


def numbers(shown: m3u8.M3U8) -> list[int]:
    return [int(segment.uri.split(".")[0]) for segment in shown.segments]


def breaks_before(shown: m3u8.M3U8) -> int:
    return shown.discontinuity_sequence or 0


def told(shown: m3u8.M3U8) -> int:
    return sum(bool(segment.discontinuity) for segment in shown.segments)


def test_a_stream_that_becomes_something_else_is_followed_and_back(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", on_demand=False)
            here.tap.pour(clip(3))
            before = await listing(here, ".ts")
            for _ in range(2):
                pour(here)
                between = await listing(here, ".m4s")
                assert numbers(between)[0] == numbers(before)[-1] + 2  # the open one was closed, and its number used
                assert between.segments[0].discontinuity
                assert (between.version, len(between.segment_map)) == (7, 1)
                assert breaks_before(between) == breaks_before(before) + told(before)
                assert (await here.ask("/ts/cam")).status == 406
                here.tap.pour(clip(3))
                before = await listing(here, ".ts")
                assert numbers(before)[0] == numbers(between)[-1] + 1
                assert before.segments[0].discontinuity
                assert breaks_before(before) == breaks_before(between) + told(between)
                assert (before.version, len(before.segment_map)) == (6, 1)  # hls.js would keep that of the fragments
                named = await here.ask(f"/hls/cam/{before.segment_map[0].uri}")
                assert (named.status, named.headers["content-type"]) == (200, "video/mp2t")
                tables = await body(named)
                first = await here.ask(f"/hls/cam/{before.segments[0].uri}")
                assert tables.startswith(b"\x47\x40\x00")  # a PAT
                assert (await body(first)).startswith(tables)
                assert (await here.ask("/ts/cam")).status == 200

    run(story)


def test_viewers_of_mpeg_ts_get_their_end_only_when_nothing_else_is_left(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            watching = await here.ask("/ts/cam")
            assert watching.status == 200
            here.tap.chunks.put_nowait(FragmentBegins(b""))  # which ends that connection
            await until(lambda: "is being watched" in session.view().detail)
            assert len(session.viewers) == 1
            assert (await here.ask("/ts/cam", "HEAD")).status == 200
            pour(here)
            media = await watching.rest()
            assert len(media) % 188 == 0
            assert set(media[::188]) == {0x47}
            assert b"mdat" not in media
            assert (await here.ask("/ts/cam")).status == 406
            assert session.view().state == "flowing"

    run(story)


def test_a_change_that_comes_to_nothing_disturbs_nobody(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam", on_demand=False)
            here.tap.pour(clip(3))
            before = await listing(here, ".ts")
            feed = session.feed
            for item in (FragmentBegins(b"x"), b"y" * 1000, Discontinuity()):  # half a segment
                here.tap.chunks.put_nowait(item)
            here.tap.pour(clip(3))
            await until(here.tap.chunks.empty)
            after = await playlist(here)
            assert session.feed is feed
            assert numbers(after)[0] >= numbers(before)[0]
            assert (await here.ask("/ts/cam")).status == 200

    run(story)


def test_what_is_not_to_be_served_as_hls_cannot_be_fragments(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", outputs=["ts"])
            pour(here)
            refused = await here.ask("/ts/cam")
            assert refused.status == 502
            assert "as HLS only" in json.loads(await body(refused))["detail"]

    run(story)
