import asyncio
import re

import pytest

from proxy.core.psi import PACKET_BYTES
from proxy.serve.client import SlowRule
from tests.fakes.viewing import MIB, Answer, clip, decode_errors, place, until

SYNC = b"\x47"


def aligned(media: bytes) -> bool:
    return len(media) % PACKET_BYTES == 0 and media[::PACKET_BYTES] == SYNC * (len(media) // PACKET_BYTES)


def test_a_viewer_gets_tables_and_a_picture_at_once(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(5))
            first = await here.ask("/ts/cam")
            assert first.status == 200
            assert first.headers["content-type"] == "video/mp2t"
            assert first.headers["connection"] == "close"
            assert first.headers["access-control-allow-origin"] == "*"
            assert "transfer-encoding" not in first.headers
            assert "content-length" not in first.headers
            await until(here.tap.chunks.empty)
            here.pump._flush_seconds = 3600  # from now on nobody is served by a tick
            await asyncio.sleep(0.1)
            clock = asyncio.get_running_loop().time
            began = clock()
            second = await here.ask("/ts/cam")
            point = session.feed.join()
            wanted = point.prefix + session.feed.ring.read(point.position, session.feed.head)
            got = await second.exactly(len(wanted))
            assert clock() - began < 0.5
            assert got == wanted
            assert got[1:3] == b"\x40\x00"
            assert decode_errors(got) == ""

    run(story)


def test_everything_written_reaches_every_viewer_in_order(run) -> None:
    async def story() -> None:
        media = clip(10)
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(media[:400_000])
            viewers = [await here.ask("/ts/cam", limit=1 << 22) for _ in range(5)]
            here.tap.pour(media[400_000:])
            await until(here.tap.chunks.empty)
            await until(lambda: all(v.position == session.feed.head for v in session.viewers.values()))
            assert [view.lag_bytes for view in session.viewer_views()] == [0] * 5
            sent = session.bytes_out
            here.stop("cam")
            bodies = [await viewer.rest() for viewer in viewers]
            assert all(aligned(body) for body in bodies)
            assert all(decode_errors(body) == "" for body in bodies[:1])
            assert len(set(bodies)) == 1
            assert bodies[0].endswith(media[-188 * 1000 :])
            assert sent == sum(len(body) for body in bodies)

    run(story)


@pytest.mark.parametrize("audio_only", [True, False], ids=["sound", "video"])
def test_what_arrives_decodes_clean(run, audio_only: bool) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(5, audio_only=audio_only))
            viewer = await here.ask("/ts/cam", limit=1 << 22)
            await until(here.tap.chunks.empty)
            await asyncio.sleep(0.2)
            here.stop("cam")
            body = await viewer.rest()
            assert aligned(body)
            assert decode_errors(body) == ""

    run(story)


def test_who_is_refused_is_told_why(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam", outputs=["hls"])
            here.run("gone")
            here.stop("gone")
            answers = {key: await here.ask(f"/ts/{key}") for key in ("cam", "gone", "nothing")}
            assert {key: answer.status for key, answer in answers.items()} == {"cam": 406, "gone": 410, "nothing": 404}
            for answer in answers.values():
                assert answer.headers["content-type"].startswith("application/problem+json")
                assert answer.headers["access-control-allow-origin"] == "*"
            here.registry.synced = False
            waiting = await here.ask("/ts/nothing")
            assert waiting.status == 503
            assert int(waiting.headers["retry-after"]) > 0
            assert (await here.ask("/ts/gone")).status == 410

    run(story)


def test_a_failed_start_is_never_a_200(run) -> None:
    async def story() -> None:
        async with place(start_timeout_seconds=0.3) as here:
            session = here.run("silent")
            answer = await here.ask("/ts/silent")
            assert answer.status in (502, 504)
            assert b'"detail":"' in await answer.exactly(int(answer.headers["content-length"]))
            assert session.viewers == {}

    run(story)


@pytest.mark.parametrize("limited", ["the proxy", "the stream"])
def test_whoever_is_full_says_so(run, limited: str) -> None:
    async def story() -> None:
        async with place(viewers_max=1 if limited == "the proxy" else 9, linger_seconds=10) as here:
            here.run("cam", viewers_max=1 if limited == "the stream" else None)
            here.run("other")
            here.tap.pour(clip(5))
            first = await here.ask("/ts/cam")
            second = await here.ask("/ts/cam")
            assert (first.status, second.status) == (200, 503)
            assert int(second.headers["retry-after"]) > 0
            assert b'"status":503' in await second.exactly(int(second.headers["content-length"]))
            assert (await here.ask("/hls/cam/index.m3u8")).status == 503
            await first.close()
            await until(lambda: not here.registry.get("cam").viewers)
            assert (await here.ask("/ts/cam")).status == 200

    run(story)


def test_a_burst_begins_behind_live(run) -> None:
    async def story() -> None:
        async with place(rule=SlowRule(lag_bytes_max=MIB)) as here:
            session = here.run("cam")
            here.tap.pour(clip(5))
            await here.ask("/ts/cam")
            await until(here.tap.chunks.empty)
            await until(lambda: len(session.feed.ring.points) == 5)
            ring, head = session.feed.ring, session.feed.head
            viewer = await here.ask("/ts/cam?burst=300000b")
            point = [point for point in ring.points if point.position <= head - 300_000][-1]
            wanted = point.prefix + ring.read(point.position, head)
            assert await viewer.exactly(len(wanted)) == wanted
            assert decode_errors(wanted) == ""

    run(story)


def test_a_burst_that_cannot_be_read_is_a_400(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            for method in ("GET", "HEAD"):
                answer = await here.ask("/ts/cam?burst=much", method)
                assert answer.status == 400
                assert answer.headers["content-type"].startswith("application/problem+json")
            assert session.viewers == {}
            assert here.tap.opened == 0

    run(story)

    run(story)


def test_a_stop_during_the_start_is_a_410(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            asking = asyncio.ensure_future(here.ask("/ts/cam"))
            await until(lambda: bool(session.viewers))
            here.stop("cam")
            answer = await asking
            assert answer.status == 410

    run(story)


def test_head_and_options_open_nothing(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            session = here.registry.get("cam")
            head = await here.ask("/ts/cam", "HEAD")
            assert not session.viewers
            assert (head.status, head.headers["content-type"]) == (200, "video/mp2t")
            assert await head.rest() == b""
            options = await here.ask("/ts/cam", "OPTIONS")
            assert options.status == 204
            assert "GET" in options.headers["access-control-allow-methods"]
            missing = await here.ask("/ts/nothing", "HEAD")
            assert missing.status == 404
            assert here.tap.opened == 0
            here.tap.pour(clip(5))
            watched = await here.ask("/ts/cam")
            assert {name: head.headers[name] for name in head.headers if name != "date"} == {
                name: watched.headers[name] for name in watched.headers if name != "date"
            }
            assert watched.headers["date"]

    run(story)


def test_a_closed_socket_leaves_at_once(run) -> None:
    async def story() -> None:
        async with place(linger_seconds=0.1) as here:
            session = here.run("cam")
            here.tap.pour(clip(5))
            viewer = await here.ask("/ts/cam")
            assert len(session.viewers) == 1
            await viewer.close()
            await until(lambda: not session.viewers, seconds=0.5)
            await until(lambda: session.feed is None, seconds=1.0)
            assert session.bytes_out > 0

    run(story)


def test_a_request_after_another_on_the_same_connection_is_served(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.tap.pour(clip(5))
            answer = await here.ask("/ts/nothing")
            assert answer.status == 404
            await answer.exactly(int(answer.headers["content-length"]))
            answer.writer.write(b"GET /ts/cam HTTP/1.1\r\nHost: test\r\n\r\n")
            head = await answer.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert (await answer.exactly(188))[:3] == b"\x47\x40\x00"

    run(story)


async def fill_for(viewer_count: int, here, session, media: bytes) -> None:
    """Pour media in until the ring has gone far past everybody who does not read."""
    here.tap.pour(media)
    await until(here.tap.chunks.empty, seconds=20)
    assert len(session.viewers) == viewer_count


def test_a_stop_ends_readers_with_all_they_are_owed_and_resets_the_others(run) -> None:
    async def story() -> None:
        media = clip(20, bitrate="8M")
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(media[: 2 * MIB])
            reader = await here.ask("/ts/cam", limit=1 << 24)
            sleeper = await here.ask("/ts/cam")
            sleeper.reader._transport.pause_reading()
            await fill_for(2, here, session, media[2 * MIB :])
            await until(lambda: session.viewer_views()[0].lag_bytes == 0)
            clock = asyncio.get_running_loop().time
            began = clock()
            here.stop("cam")
            assert session.over
            body = await reader.rest()
            assert clock() - began < 1.0
            assert body.endswith(media[-188 * 5000 :])
            assert aligned(body)
            await until(lambda: not session.viewers, seconds=1.6 - (clock() - began))
            sleeper.reader._transport.resume_reading()
            with pytest.raises(ConnectionResetError):
                await sleeper.rest()
            assert session.feed is None

    run(story)


def test_a_viewer_sent_away_gets_its_end_and_the_others_go_on(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(5))
            first, second = await here.ask("/ts/cam"), await here.ask("/ts/cam")
            victim = next(iter(session.viewers))
            assert here.registry.kick(victim)
            body = await first.rest(1.0)
            assert aligned(body)
            await until(lambda: list(session.viewers) != [victim] and len(session.viewers) == 1)
            here.tap.pour(clip(5))
            await until(here.tap.chunks.empty)
            assert await second.exactly(len(body) + 188)

    run(story)


RULE = SlowRule(lag_bytes_max=1 * MIB, moves_max=2, patience_seconds=0.1)


def counters_continue(media: bytes) -> bool:
    """Whether every packet follows its predecessor on its PID, or says that it does not."""
    last: dict[int, int] = {}
    for at in range(0, len(media), PACKET_BYTES):
        pid, control = (media[at + 1] << 8 | media[at + 2]) & 0x1FFF, media[at + 3]
        jump = control & 0x20 and media[at + 4] and media[at + 5] & 0x80
        wanted = (last.get(pid, control - 1) + (1 if control & 0x10 else 0)) & 0x0F
        if pid != 0x1FFF and not jump and pid in last and control & 0x0F != wanted:
            return False
        last[pid] = control & 0x0F
    return True


def pause(answer: Answer) -> None:
    answer.reader._transport.pause_reading()


def resume(answer: Answer) -> None:
    answer.reader._transport.resume_reading()


def test_a_slow_viewer_is_moved_at_a_packet_and_told_of_the_jump(run) -> None:
    async def story() -> None:
        media = clip(30, bitrate="8M")
        async with place(rule=RULE, ring_bytes_max=8 * MIB) as here:
            session = here.run("cam")
            here.tap.pour(media[: 2 * MIB])
            slow = await here.ask("/ts/cam")
            pause(slow)
            await until(here.tap.chunks.empty)
            viewer = next(iter(session.viewers.values()))
            here.tap.pour(media[2 * MIB : 16 * MIB], 100_003)
            await until(lambda: viewer.moves == 1, seconds=10)
            resume(slow)
            slow.reader._limit = 1 << 26
            here.tap.pour(media[16 * MIB : 17 * MIB])
            await until(lambda: here.tap.chunks.empty() and viewer.position == session.feed.head)
            here.stop("cam")
            body = await slow.rest()
            assert aligned(body)
            assert counters_continue(body)
            assert len(body) < 16 * MIB
            assert here.pump.dropped["too_slow"] == 0
            jumps = [jump.start() for jump in re.finditer(rb"\x47\x00\x00[\x20-\x2f]\xb7\x80", body)]
            assert len(jumps) == viewer.moves  # on a busy machine it may be moved once more before it is resumed
            assert decode_errors(body[jumps[-1] :]) == ""

    run(story)


def test_a_viewer_that_never_reads_is_dropped_and_slows_nobody(run) -> None:
    async def story() -> None:
        media = clip(30, bitrate="8M")
        async with place(rule=RULE, ring_bytes_max=8 * MIB) as here:
            session = here.run("cam")
            here.tap.pour(media[: 2 * MIB])
            dead = await here.ask("/ts/cam")
            pause(dead)
            live = await here.ask("/ts/cam", limit=1 << 26)
            viewer = next(iter(session.viewers.values()))
            at = 2 * MIB
            while viewer.viewer_id in session.viewers and at < len(media):
                here.tap.pour(media[at : at + MIB // 2])
                at += MIB // 2
                await asyncio.sleep(0.06)
            await until(lambda: viewer.viewer_id not in session.viewers)
            assert viewer.moves == RULE.moves_max
            assert here.pump.dropped["too_slow"] == 1
            assert len(session.viewers) == 1
            here.stop("cam")
            body = await live.rest()
            assert aligned(body)
            assert counters_continue(body)
            assert b"\xb7\x80\xff\xff" not in body  # it was never moved

    run(story)
