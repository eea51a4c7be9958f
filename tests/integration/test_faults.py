"""Faults that gateways have been seen to have, tried on one real proxy process that all these tests share.

``docs/explanation/faults.md`` says which test stands for which fault.
"""

import asyncio
import ctypes
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import aiohttp
import m3u8
import psutil
import pytest

from proxy import contract
from proxy.upstream import demo
from tests.fakes import fast_clock
from tests.fakes.proxy_process import TOKEN, Proxy, real_proxy, until, unused_port
from tests.fakes.tcp import serving
from tests.fakes.upstream import FakeUpstream, fake_upstream

PACKET = 188
LINGER_SECONDS = 0.6
LAG_BYTES_MAX = 512 * 1024
SETTINGS = {
    "LINGER_SECONDS": str(LINGER_SECONDS),
    "START_TIMEOUT_SECONDS": "2",
    "SILENCE_SECONDS": "1",
    "STALL_SECONDS": "1",
    "SLOW_LAG_BYTES": str(LAG_BYTES_MAX),
    "SLOW_PATIENCE_SECONDS": "0.2",
    "SLOW_MOVES_MAX": "3",
    "HLS_SEGMENT_SECONDS": "1",
    "LOG_FORMAT": "json",
    "CONTROL_TOKEN": TOKEN,
}
SO_ATTACH_FILTER = 26
CLOCK_SPEED = 100
"""Of the proxy that lives through minutes."""
keys = (f"cam-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[str, int]]:
    """The proxy: it has to end within five seconds in the end, and must never have met a fault of its own."""
    port = unused_port()
    environment = os.environ | {f"PENSTOCK_PROXY_{name}": value for name, value in SETTINGS.items()}
    environment["PENSTOCK_PROXY_HTTP"] = f"127.0.0.1:{port}"
    with TemporaryFile() as log:
        started = subprocess.Popen([sys.executable, "-m", "proxy"], env=environment, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}", started.pid
            started.send_signal(signal.SIGTERM)
            assert started.wait(timeout=5) == 0
        finally:
            started.kill()
            started.wait()
        log.seek(0)
        assert b"Traceback" not in log.read()


@pytest.fixture
async def proxy(process: tuple[str, int]) -> AsyncIterator[Proxy]:
    """The proxy, seen by this test; whatever the test started is stopped at its end."""
    url, pid = process
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}, connector=connector) as http:
        seen = Proxy(url, pid, http)
        await until(seen.answers, 30)
        seen.boot_id = (await seen.list()).boot_id
        yield seen
        for view in (await seen.list()).sessions:
            await seen.stop(view.key, view.epoch, view.generation)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as served:
        yield served


@pytest.fixture
def key() -> str:
    return next(keys)


@asynccontextmanager
async def watching(proxy: Proxy, key: str, **options: int) -> AsyncIterator[tuple[asyncio.StreamReader, socket.socket]]:
    """A plain socket that watches, its head read; it is reset at the end."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.get("buffer", 64 * 1024))
        sock.setblocking(False)
        port = int(proxy.url.rpartition(":")[2])
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=options.get("limit", 64 * 1024))
        try:
            writer.write(f"GET /ts/{key} HTTP/1.1\r\nHost: test\r\nUser-Agent: player\r\n\r\n".encode())
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            yield reader, writer.get_extra_info("socket")
        finally:
            writer.transport.abort()


async def drain(reader: asyncio.StreamReader) -> None:
    """Read to the end of the connection, which has to come soon."""
    async with asyncio.timeout(1.5):
        while await reader.read(1 << 20):
            pass


async def figure(proxy: Proxy, name: str) -> float:
    async with proxy.http.get(f"{proxy.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def viewers(proxy: Proxy, key: str) -> list[contract.Viewer]:
    async with proxy.http.get(f"{proxy.url}{contract.PREFIX}/viewers") as answer:
        listed = contract.ViewerList.model_validate_json(await answer.text())
    return [viewer for viewer in listed.items if viewer.key == key]


async def counts(proxy: Proxy, key: str) -> tuple[int, int]:
    view = await proxy.view(key)
    return view.viewers_ts, view.viewers_hls


async def rest(upstream: FakeUpstream, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await upstream.rests.wait()


async def test_a_stop_ends_everybody_at_once_while_hls_polls(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/flow"), key=key)
    statuses: list[list[int]] = [[], []]

    async def poll(seen: list[int]) -> None:
        async with aiohttp.ClientSession() as player:
            while 410 not in seen:
                async with player.get(f"{proxy.url}/hls/{key}/index.m3u8") as answer:
                    seen.append(answer.status)
                    text = await answer.text()
                for uri in m3u8.loads(text).files[-1:] if answer.status == 200 else ():
                    async with player.get(f"{proxy.url}/hls/{key}/{uri}") as segment:
                        with suppress(aiohttp.ClientPayloadError):
                            await segment.read()

    async def polled() -> bool:
        return all(len(seen) >= 2 for seen in statuses)

    async with asyncio.TaskGroup() as group:
        for seen in statuses:
            group.create_task(poll(seen))
        async with watching(proxy, key) as (first, _), watching(proxy, key) as (second, _):
            ends = [group.create_task(first.read()), group.create_task(second.read())]
            await until(polled)
            await proxy.stop(key)
            async with asyncio.timeout(1):
                await asyncio.gather(*ends, return_exceptions=True)
                await upstream.rests.wait()
    assert all(set(seen) == {200, 410} and seen.count(410) == 1 for seen in statuses)
    assert [view for view in (await proxy.list()).sessions if view.key == key] == []


async def test_whoever_comes_back_within_the_linger_stays(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/flow"), key=key)
    async with watching(proxy, key) as (reader, _):
        await reader.readexactly(PACKET)
    await asyncio.sleep(LINGER_SECONDS / 2)
    async with watching(proxy, key) as (reader, _):
        deadline = time.monotonic() + LINGER_SECONDS * 1.5  # past the moment the first linger would have ended
        while time.monotonic() < deadline:
            assert await reader.read(64 * 1024)
        assert upstream.requests["/flow"] == 1
        assert upstream.open_now == 1
    await rest(upstream, LINGER_SECONDS + 2)


async def test_an_hls_upstream_that_never_delivers_is_given_up(proxy: Proxy, upstream: FakeUpstream, key: str):
    listed = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\n/hang/1.ts\n#EXTINF:2,\n/hang/2.ts\n"
    )
    upstream.playlists["live.m3u8"] = listed
    await proxy.ensure(upstream.url("/live.m3u8"), key=key)

    async def ask(path: str) -> int:
        async with asyncio.timeout(5), proxy.http.get(f"{proxy.url}{path}") as answer:
            problem = contract.Problem.model_validate_json(await answer.text())
            assert problem.status == answer.status
            return answer.status

    async def is_idle() -> bool:
        return (await proxy.view(key)).state == "idle"

    answers = await asyncio.gather(ask(f"/hls/{key}/index.m3u8"), ask(f"/ts/{key}"))
    assert set(answers) <= {502, 504}
    await until(is_idle)
    await rest(upstream, 2)
    await asyncio.sleep(2)  # while a failed start is answered from memory, nothing is opened for those who come
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), proxy.http.get(f"{proxy.url}/ts/{key}"):
            pytest.fail("there is nothing to answer yet")
    await until(is_idle)
    await rest(upstream, 2)
    # Without viewers, and not on demand: it is told for how long it fails, and a stop lets go of it.
    await proxy.ensure(upstream.url("/live.m3u8"), key=key, generation=2, on_demand=False)

    async def fails() -> bool:
        return ((await proxy.view(key)).failing_seconds or 0) > 0.5

    await until(fails)
    await proxy.stop(key, generation=2)
    await rest(upstream, 1)


def _answer_nothing(sock: socket.socket) -> None:
    """Attach a filter that takes nothing: from now on this kernel is silent on that connection, as if it were gone."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


async def test_a_viewer_that_vanished_is_noticed_within_ten_seconds(proxy: Proxy, key: str):
    await proxy.ensure("demo:", key=key)
    vanished = await figure(proxy, 'penstock_proxy_viewers_dropped_total{cause="vanished"}')
    async with watching(proxy, key) as (stays, _), watching(proxy, key) as (goes, sock):
        await goes.readexactly(PACKET)
        _answer_nothing(sock)
        began = time.monotonic()

        async def is_noticed() -> bool:
            await stays.read(1 << 20)
            return await counts(proxy, key) == (1, 0)

        await until(is_noticed, 12)
        assert time.monotonic() - began < 10.5
        assert await stays.readexactly(PACKET)
    assert await figure(proxy, 'penstock_proxy_viewers_dropped_total{cause="vanished"}') == vanished + 1


async def test_a_paused_viewer_comes_back_to_live_or_is_dropped(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/flow"), key=key)
    dropped = await figure(proxy, 'penstock_proxy_viewers_dropped_total{cause="too_slow"}')
    async with watching(proxy, key) as (paused, _):
        await paused.readexactly(PACKET)

        async def is_moved() -> bool:
            return [viewer.moves for viewer in await viewers(proxy, key)] == [1]

        await until(is_moved)
        received = bytearray()

        async def is_live() -> bool:
            received.extend(await paused.readexactly(PACKET * 5000))
            return (await viewers(proxy, key))[0].lag_bytes < LAG_BYTES_MAX

        await until(is_live)
        assert received[::PACKET] == b"\x47" * (len(received) // PACKET)

        async def is_gone() -> bool:
            return await viewers(proxy, key) == []

        await until(is_gone)
        with pytest.raises(ConnectionResetError):
            await drain(paused)
    assert await figure(proxy, 'penstock_proxy_viewers_dropped_total{cause="too_slow"}') == dropped + 1


async def test_an_upstream_that_falls_silent_is_opened_again_and_viewers_stay(proxy: Proxy, key: str):
    opened = 0
    clip = demo.load().content

    async def serve(asked: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n" + clip)
        with suppress(ConnectionError):
            await asked.read()  # silence until it is closed

    async with serving(serve) as port:
        await proxy.ensure(f"http://127.0.0.1:{port}/x.ts", key=key)
        async with watching(proxy, key) as (reader, _):
            received = 0
            async with asyncio.timeout(10):
                while received < 2.2 * len(clip) or opened < 3:
                    block = await reader.read(1 << 20)
                    assert block, "the viewer was cut off"
                    received += len(block)
            assert await counts(proxy, key) == (1, 0)
        await proxy.stop(key)


async def test_two_hundred_viewers_do_not_slow_the_answers_and_their_loss_is_noticed(proxy: Proxy, key: str):
    await proxy.ensure("demo:", key=key)

    async def watch(until_told: asyncio.Event) -> None:
        async with watching(proxy, key) as (reader, _):
            while not until_told.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        assert await reader.read(1 << 16)

    told = asyncio.Event()

    async def all_are_here() -> bool:
        return await counts(proxy, key) == (200, 0)

    async def all_are_gone() -> bool:
        return await counts(proxy, key) == (0, 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(watch(told))
        await until(all_are_here, 20)
        slowest = 0.0
        for _ in range(10):
            began = time.monotonic()
            assert len(await viewers(proxy, key)) == 200
            slowest = max(slowest, time.monotonic() - began)
        told.set()
    assert slowest < 1
    await until(all_are_gone, 5)


async def test_viewers_removed_in_every_way_at_once_leave_the_service_answering(upstream: FakeUpstream):
    slow = {"SLOW_LAG_BYTES": str(LAG_BYTES_MAX), "SLOW_PATIENCE_SECONDS": "0.5", "SLOW_MOVES_MAX": "1"}
    async with real_proxy(**slow) as proxy, AsyncExitStack() as crowd:
        await proxy.ensure(upstream.url("/flow"))

        async def join(count: int) -> tuple[list[socket.socket], set[str]]:
            before = {viewer.viewer_id for viewer in await viewers(proxy, "cam")}
            joined = [await crowd.enter_async_context(watching(proxy, "cam", buffer=4096)) for _ in range(count)]
            after = {viewer.viewer_id for viewer in await viewers(proxy, "cam")}
            return [sock for _, sock in joined], after - before

        witness, _ = await crowd.enter_async_context(watching(proxy, "cam", limit=1 << 20))
        await join(6)  # they read nothing, and are too slow
        (_, kicked), (reset, resetting) = await join(6), await join(6)
        over = asyncio.Event()

        async def read_on() -> None:
            while not over.is_set():
                assert await witness.read(1 << 20)

        async def ask() -> float:
            slowest = 0.0
            while not over.is_set():
                began = time.monotonic()
                await viewers(proxy, "cam")
                slowest = max(slowest, time.monotonic() - began)
            return slowest

        async def kick(viewer_id: str) -> int:
            async with proxy.http.delete(f"{proxy.url}{contract.PREFIX}/viewers/{viewer_id}") as answer:
                return answer.status

        async def all_others_are_gone() -> bool:
            return await counts(proxy, "cam") == (1, 0)

        async with asyncio.TaskGroup() as group:
            group.create_task(read_on())
            asking = group.create_task(ask())
            kicks = [group.create_task(kick(viewer_id)) for viewer_id in [*kicked, *resetting] * 2]
            for sock in reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            await until(all_others_are_gone, 5)
            over.set()
        assert {task.result() for task in kicks} == {204, 404}  # each was kicked twice
        assert asking.result() < 1
        assert await witness.readexactly(PACKET * 1000)
        for sock in (await join(3))[0]:
            _answer_nothing(sock)
        assert await counts(proxy, "cam") == (4, 0)
        os.kill(proxy.pid, signal.SIGTERM)  # while three are there who will never answer
        await drain(witness)

        async def has_ended() -> bool:
            return not psutil.pid_exists(proxy.pid)

        await until(has_ended, 5)


async def test_two_stops_and_a_kick_at_once_are_one_end(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/flow"), key=key)
    async with watching(proxy, key) as (reader, _):
        [viewer] = await viewers(proxy, key)
        query = {"key": key, "epoch": 1, "generation": 1, "boot_id": proxy.boot_id, "token": 1}

        async def stop() -> str:
            async with proxy.http.delete(f"{proxy.url}{contract.PREFIX}/sessions/s-{key}", params=query) as answer:
                return contract.StopReply.model_validate_json(await answer.text()).outcome

        async def kick() -> int:
            async with proxy.http.delete(f"{proxy.url}{contract.PREFIX}/viewers/{viewer.viewer_id}") as answer:
                return answer.status

        first, kicked, second = await asyncio.gather(stop(), kick(), stop())
        assert {first, second} == {"stopped", "not_found"}
        assert kicked in (204, 404)
        with suppress(ConnectionResetError):
            await drain(reader)
    await rest(upstream, 1)


async def test_an_old_teardown_never_touches_what_was_started_since(proxy: Proxy, upstream: FakeUpstream, key: str):
    for epoch in range(1, 11):
        assert await proxy.ensure(upstream.url(f"/flow?run={epoch}"), key=key, epoch=epoch) == "started"
        async with watching(proxy, key) as (reader, _):
            await reader.readexactly(PACKET)
            await proxy.stop(key, epoch=epoch)
            assert await proxy.ensure(upstream.url("/flow?run=next"), key=key, epoch=epoch, generation=2) == "started"
            async with watching(proxy, key) as (successor, _):
                await successor.readexactly(PACKET * 100)
                with suppress(ConnectionResetError):
                    await drain(reader)
                await successor.readexactly(PACKET * 100)
                assert await counts(proxy, key) == (1, 0)
                assert upstream.open_now == 1


async def test_two_viewers_of_one_address_and_agent_are_two(proxy: Proxy, key: str):
    await proxy.ensure("demo:", key=key)
    agent = {"User-Agent": "player"}
    async with (
        aiohttp.ClientSession(headers=agent) as one,
        aiohttp.ClientSession(headers=agent) as two,
        watching(proxy, key) as (stays, _),
    ):
        async with watching(proxy, key) as (leaves, _):
            await leaves.readexactly(PACKET)
            for player in (one, two, one, two):
                async with player.get(f"{proxy.url}/hls/{key}/index.m3u8") as answer:
                    assert answer.status == 200
            assert await counts(proxy, key) == (2, 2)
            assert len({viewer.viewer_id for viewer in await viewers(proxy, key)}) == 4

        async def one_has_left() -> bool:
            return await counts(proxy, key) == (1, 2)

        await until(one_has_left, 2)
        assert await stays.readexactly(PACKET * 10)


async def test_playlists_hold_the_rules_while_the_upstream_breaks(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/drop"), key=key)
    seen: dict[str, tuple[float, bytes]] = {}
    breaks = newest = 0
    async with aiohttp.ClientSession() as player, asyncio.timeout(20):
        while breaks < 2:
            async with player.get(f"{proxy.url}/hls/{key}/index.m3u8") as answer:
                shown = m3u8.M3U8(await answer.text(), strict=True)
            assert shown.media_sequence >= newest
            newest = shown.media_sequence
            numbers = [int(segment.uri.partition(".")[0]) for segment in shown.segments]
            assert numbers == list(range(newest, newest + len(numbers)))
            for segment in shown.segments:
                assert int(segment.duration + 0.5) <= shown.target_duration
                assert segment.program_date_time is not None
                if segment.uri not in seen:
                    async with player.get(f"{proxy.url}/hls/{key}/{segment.uri}") as answer:
                        seen[segment.uri] = segment.duration, await answer.read()
                assert seen[segment.uri][0] == segment.duration
            breaks = (shown.discontinuity_sequence or 0) + sum(segment.discontinuity for segment in shown.segments)
    for _, media in seen.values():
        assert media[::PACKET] == b"\x47" * (len(media) // PACKET)
        assert media[1:3] == b"\x40\x00", "a segment begins with its tables"


async def test_an_upstream_that_loops_is_told_and_left_for_another(proxy: Proxy, upstream: FakeUpstream, key: str):
    await proxy.ensure(upstream.url("/flow"), key=key)

    async def loops() -> bool:
        return (await proxy.view(key)).looping_seconds is not None

    async def plays_the_other() -> bool:
        view = await proxy.view(key)
        return (view.upstream_index, view.state) == (1, "flowing")

    async with watching(proxy, key) as (reader, _):
        reading = asyncio.create_task(reader.read())
        await until(loops)
        view = await proxy.view(key)
        assert view.state == "flowing"  # with nowhere to go, its viewers are better off with it
        assert (view.upstream_index, upstream.open_now, reading.done()) == (0, 1, False)
        assert view.loop_period_seconds is not None
        assert view.loop_period_seconds < demo.CLIP_TICKS / demo.TICK_HZ  # it is played faster than it should be
        await proxy.ensure(upstream.url("/flow?again"), "demo:", key=key, generation=2)
        await until(plays_the_other)
        await rest(upstream, 2)
        assert not await loops()
        assert await counts(proxy, key) == (1, 0)
        assert not reading.done(), "the viewer was cut off"
        await proxy.stop(key, generation=2)
        with suppress(ConnectionResetError):
            await reading


async def test_an_hls_viewer_that_was_sent_away_is_refused_and_another_plays_on(proxy: Proxy, key: str):
    await proxy.ensure("demo:", key=key)

    async def ask(player: aiohttp.ClientSession, path: str) -> tuple[int, str]:
        async with player.get(f"{proxy.url}/hls/{key}/{path}") as answer:
            return answer.status, (await answer.read()).decode(errors="replace")

    async def one_is_left() -> bool:
        return await counts(proxy, key) == (0, 1)

    jar = aiohttp.CookieJar(unsafe=True)  # takes cookies of plain addresses, too
    async with aiohttp.ClientSession(cookie_jar=jar) as goes, aiohttp.ClientSession() as stays:
        _, listed = await ask(goes, "index.m3u8")
        [viewer] = await viewers(proxy, key)
        segment = m3u8.loads(listed).files[-1]
        assert (await ask(stays, "index.m3u8"))[0] == 200
        async with proxy.http.delete(f"{proxy.url}{contract.PREFIX}/viewers/{viewer.viewer_id}") as answer:
            assert answer.status == 204
        for path in ("index.m3u8", segment):
            status, text = await ask(goes, path)
            assert status == 410
            assert contract.Problem.model_validate_json(text).detail == "this viewer has been sent away"
        async with aiohttp.ClientSession() as elsewhere:  # another connection, no cookie: its token is known
            assert (await ask(elsewhere, segment))[0] == 410
        assert (await ask(stays, "index.m3u8"))[0] == 200
        await until(one_is_left, 3)
        assert viewer.viewer_id not in {left.viewer_id for left in await viewers(proxy, key)}
        async with proxy.http.delete(f"{proxy.url}{contract.PREFIX}/viewers/{viewer.viewer_id}") as answer:
            assert answer.status == 404


@pytest.mark.skipif(fast_clock.COMPILER is None, reason=fast_clock.MISSING)
async def test_after_minutes_of_watching_the_upstream_is_closed_by_the_linger(
    upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LD_PRELOAD", str(fast_clock.library(tmp_path, CLOCK_SPEED)))
    waits = ("SILENCE", "STALL", "START_TIMEOUT", "CONNECT_TIMEOUT", "SLOW_PATIENCE")  # we are no faster than before
    async with real_proxy(LINGER_SECONDS="20", **{f"{name}_SECONDS": "1000" for name in waits}) as proxy:
        await proxy.ensure(upstream.url("/flow"), loop="allow")

        async def has_run_for_minutes() -> bool:
            [viewer] = await viewers(proxy, "cam")
            return viewer.since_seconds > 330

        async with watching(proxy, "cam") as (reader, _):
            reading = asyncio.create_task(reader.read())
            await until(has_run_for_minutes, 15)
            assert (upstream.open_now, upstream.requests["/flow"], reading.done()) == (1, 1, False)
            reading.cancel()

        async def is_idle() -> bool:
            return (await proxy.view()).state == "idle"

        await until(is_idle, 5)
        await rest(upstream, 2)
        assert upstream.requests["/flow"] == 1
