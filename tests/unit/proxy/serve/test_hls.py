import asyncio
import gzip
import subprocess

import m3u8
import pytest

from proxy.serve import audience, hls, tcp
from tests.fakes.viewing import MIB, Answer, Place, again, clip, decode_errors, place, until


async def body(answer: Answer) -> bytes:
    return await answer.exactly(int(answer.headers["content-length"]))


async def playlist(here: Place, **headers: str) -> tuple[m3u8.M3U8, Answer]:
    answer = await here.ask("/hls/cam/index.m3u8", **headers)
    assert answer.status == 200
    return m3u8.loads((await body(answer)).decode()), answer


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].split(";")[0]


def test_a_playlist_waits_for_its_first_segment_and_its_segments_decode(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            media = clip(5)
            here.tap.pour(media[: len(media) // 8])
            asking = asyncio.ensure_future(playlist(here))
            await until(lambda: len(session.viewers) == 1)
            await asyncio.sleep(0.2)
            assert not asking.done()
            here.tap.pour(media[len(media) // 8 :])
            shown, answer = await asking
            assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert not shown.is_endlist
            assert 1 <= len(shown.segments) <= 4
            await until(here.tap.chunks.empty)
            shown, _ = await playlist(here)
            parts = []
            for segment in shown.segments:
                got = await here.ask(f"/hls/cam/{segment.uri}")
                assert got.status == 200
                assert got.headers["content-type"] == "video/mp2t"
                assert got.headers["cache-control"] == "max-age=3600, immutable"
                parts.append(await body(got))
                assert parts[-1][1:3] == b"\x40\x00"
                assert decode_errors(parts[-1]) == ""
            assert decode_errors(b"".join(parts)) == ""

    run(story)


def test_ffmpeg_plays_it(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(6))
            command = ["ffmpeg", "-v", "error", "-i", here.url("/hls/cam/index.m3u8"), "-t", "2", "-f", "null", "-"]
            player = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
            _, said = await asyncio.wait_for(player.communicate(), 20)
            assert (player.returncode, said.decode()) == (0, "")

    run(story)


def test_a_playlist_is_compressed_and_not_sent_again_unchanged(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(3))
            plain = await here.ask("/hls/cam/index.m3u8")
            text = await body(plain)
            cookie = cookie_of(plain)
            small = await here.ask("/hls/cam/index.m3u8", Accept_Encoding="deflate, gzip", Cookie=cookie)
            assert small.headers["content-encoding"] == "gzip"
            assert gzip.decompress(await body(small)) == text
            assert "set-cookie" not in small.headers
            tag = plain.headers["etag"]
            same = await here.ask("/hls/cam/index.m3u8", If_None_Match=tag, Cookie=cookie)
            assert same.status == 304
            assert same.headers["etag"] == tag
            here.tap.pour(clip(3))
            await until(here.tap.chunks.empty)
            newer = await here.ask("/hls/cam/index.m3u8", If_None_Match=tag, Cookie=cookie)
            assert newer.status == 200

    run(story)


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("deflate,gzip ; q=1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("x-gzip-like, identity", False),
        ("", False),
    ],
)
def test_gzip_is_taken_where_it_is_named(accepted: str, takes: bool) -> None:
    assert hls.takes_gzip(accepted) is takes


def test_a_viewer_is_one_by_cookie_by_token_and_by_connection(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            shown, first = await playlist(here)
            assert len(session.viewers) == 1
            await playlist(here, Cookie=cookie_of(first))
            got = await here.ask(f"/hls/cam/{shown.segments[0].uri}")
            size = len(await body(got))
            assert len(session.viewers) == 1
            assert next(iter(session.viewers.values())).bytes_sent == size
            assert session.bytes_out == size
            assert (await again(first, "/hls/cam/index.m3u8")).status == 200
            assert len(session.viewers) == 1

    run(story)


def test_two_viewers_behind_one_address_are_two(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            _, first = await playlist(here, User_Agent="player")
            _, second = await playlist(here, User_Agent="player")
            assert cookie_of(first) != cookie_of(second)
            assert len(session.viewers) == 2
            await again(first, "/hls/cam/index.m3u8", User_Agent="player")
            await again(second, "/hls/cam/index.m3u8", User_Agent="player")
            assert len(session.viewers) == 2

    run(story)


def test_a_player_without_cookies_that_reconnects_for_every_request_is_one(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            for _ in range(4):
                _, answer = await playlist(here, User_Agent="simple")
                await answer.close()
                await asyncio.sleep(0.05)
            assert len(session.viewers) == 1
            await playlist(here, User_Agent="another")
            assert len(session.viewers) == 2

    run(story)


def test_silence_is_leaving(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "TARGETS_SILENT", 0.3)

    async def story() -> None:
        async with place(linger_seconds=0.1) as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            await playlist(here)
            assert len(session.viewers) == 1
            await until(lambda: not session.viewers, seconds=4)
            await until(lambda: session.feed is None, seconds=4)

    run(story)


def test_a_stopped_key_is_gone_at_once(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(3))
            shown, first = await playlist(here)
            here.stop("cam")
            assert (await again(first, "/hls/cam/index.m3u8")).status == 410
            assert (await here.ask(f"/hls/cam/{shown.segments[0].uri}")).status == 410

    run(story)


def test_a_poller_that_waits_is_told_of_the_stop(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            media = clip(5)
            here.tap.pour(media[: len(media) // 8])
            asking = asyncio.ensure_future(here.ask("/hls/cam/index.m3u8"))
            await until(lambda: bool(session.viewers) and session.feed.joinable)
            await asyncio.sleep(0.15)
            here.stop("cam")
            assert (await asking).status == 410

    run(story)


def test_a_failed_start_is_answered_and_the_viewer_forgotten(run) -> None:
    async def story() -> None:
        async with place(start_timeout_seconds=0.3) as here:
            session = here.run("cam")
            answer = await here.ask("/hls/cam/index.m3u8")
            assert answer.status in (502, 504)
            assert session.viewers == {}

    run(story)


def test_whoever_goes_away_while_waiting_is_forgotten(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            asking = asyncio.ensure_future(here.ask("/hls/cam/index.m3u8"))
            await until(lambda: len(session.viewers) == 1)
            asking.cancel()
            await until(lambda: not session.viewers)

    run(story)


def test_segments_that_are_not_there(run) -> None:
    async def story() -> None:
        async with place(ring_bytes_max=MIB // 2) as here:
            here.run("cam")
            media = clip(10)
            here.tap.pour(media[: len(media) // 4])
            shown, _ = await playlist(here)
            uri = shown.segments[0].uri
            assert (await here.ask(f"/hls/cam/{uri}", "HEAD")).status == 200
            assert (await here.ask("/hls/cam/index.m3u8", "HEAD")).status == 200
            here.tap.pour(media[len(media) // 4 :])
            await until(here.tap.chunks.empty)
            assert (await here.ask(f"/hls/cam/{uri}")).status == 404
            assert (await here.ask(f"/hls/cam/{uri}", "HEAD")).status == 404
            assert (await here.ask("/hls/cam/elsewhere.ts")).status == 404
            assert (await here.ask("/hls/other/1.ts")).status == 404
            assert (await here.ask("/hls/cam/1.ts", "OPTIONS")).status == 204
            assert (await here.ask("/hls/cam/index.m3u8", "OPTIONS")).status == 204

    run(story)


def test_hls_that_was_not_asked_for_is_refused(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", outputs=["ts"])
            answer = await here.ask("/hls/cam/index.m3u8")
            assert answer.status == 406
            assert b"ts" in await body(answer)

    run(story)


def test_a_viewer_sent_away_stays_away(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            shown, first = await playlist(here)
            here.registry.kick(next(iter(session.viewers)))
            assert (await again(first, "/hls/cam/index.m3u8")).status == 410
            assert (await here.ask(f"/hls/cam/{shown.segments[0].uri}")).status == 410
            assert (await here.ask("/hls/cam/index.m3u8", Cookie=cookie_of(first))).status == 410
            await until(lambda: not session.viewers, seconds=3)

    run(story)


def test_a_new_epoch_lets_old_viewers_in_again(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(3))
            _, first = await playlist(here)
            here.epoch = 2
            session = here.run("cam")
            assert session.epoch == 2
            here.tap.pour(clip(3))
            answer = await here.ask("/hls/cam/index.m3u8", Cookie=cookie_of(first))
            assert answer.status == 200
            assert len(session.viewers) == 1

    run(story)


def test_an_ended_stream_is_played_to_its_end(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam", on_eof="end")
            here.tap.pour(clip(3))
            live, first = await playlist(here)
            await until(here.tap.chunks.empty)
            here.tap.end()
            await until(lambda: session.over)
            assert not live.is_endlist
            got = await again(first, "/hls/cam/index.m3u8")
            ended = m3u8.loads((await body(got)).decode())
            assert ended.is_endlist
            assert (await here.ask(f"/hls/cam/{ended.segments[-1].uri}")).status == 200
            late = await here.ask("/hls/cam/index.m3u8", User_Agent="late")
            assert late.status == 410

    run(story)


def test_a_segment_that_the_ring_drops_while_it_is_sent_ends_the_connection(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "UNSENT_SEGMENT_BYTES_MAX", 64 * 1024)

    async def story() -> None:
        async with place(ring_bytes_max=8 * MIB) as here:
            session = here.run("cam")
            media = clip(30, bitrate="8M")
            here.tap.pour(media[: 4 * MIB])
            shown, _ = await playlist(here)
            got = await here.ask(f"/hls/cam/{shown.segments[0].uri}")
            got.reader._transport.pause_reading()
            viewer = next(iter(session.viewers.values()))
            here.tap.pour(media[4 * MIB :])
            await until(here.tap.chunks.empty)
            assert viewer.bytes_sent < int(got.headers["content-length"])
            got.reader._transport.resume_reading()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await body(got)

    run(story)
