"""The proxy as a process: real sockets, a real upstream that misbehaves, and nothing left behind."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from proxy import contract
from tests.fakes.proxy_process import real_proxy, spawn, until
from tests.fakes.upstream import FakeUpstream, fake_upstream

MEMORY_NOISE_BYTES = 8 * 1024 * 1024
"""Fifty sessions would leave a hundred times as much, if they left their rings; a few KB each are not told from noise."""


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


async def read_to_end(answer: aiohttp.ClientResponse, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await answer.content.readany():
            pass


async def test_the_process_is_named_and_ends_while_viewers_watch(upstream: FakeUpstream):
    async with real_proxy() as proxy:
        assert Path(f"/proc/{proxy.pid}/cmdline").read_bytes().startswith(b"penstock proxy")
        await proxy.ensure(upstream.url("/flow"))
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert await answer.content.readexactly(188)
            os.kill(proxy.pid, signal.SIGTERM)
            await read_to_end(answer, 3)
        async with asyncio.timeout(1):
            await upstream.rests.wait()
        async with asyncio.timeout(5):
            while (Path("/proc") / str(proxy.pid) / "fd").is_dir():  # noqa: ASYNC110 - a process rings no bell
                await asyncio.sleep(0.01)


async def test_signals_that_repeat_do_not_change_the_exit_code():
    async with real_proxy() as proxy:
        while (Path("/proc") / str(proxy.pid) / "fd").is_dir():
            try:
                os.kill(proxy.pid, signal.SIGTERM)
            except ProcessLookupError:
                break
            await asyncio.sleep(0.001)


async def test_a_stop_ends_viewers_and_the_upstream_within_a_second(upstream: FakeUpstream):
    async with real_proxy() as proxy:
        await proxy.ensure(upstream.url("/flow"))
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert await answer.content.readexactly(188)
            assert upstream.open_now == 1
            await proxy.stop()
            async with asyncio.timeout(1):
                await upstream.rests.wait()
                await read_to_end(answer, 1)
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert answer.status == 410


async def test_a_hundred_starts_and_stops_leave_nothing(upstream: FakeUpstream):
    async with real_proxy(LINGER_SECONDS="0", HLS_SEGMENT_SECONDS="1") as proxy:
        process = psutil.Process(proxy.pid)
        before = threads = memory = 0
        for generation in range(1, 101):
            assert await proxy.ensure(upstream.url("/flow"), generation=generation) == "started"
            async with proxy.http.get(f"{proxy.url}/ts/cam", headers={"Connection": "close"}) as answer:
                assert await answer.content.readexactly(188)
                if generation % 10 == 0:
                    async with proxy.http.get(f"{proxy.url}/hls/cam/index.m3u8") as listed:
                        assert listed.status == 200
                await proxy.stop(generation=generation)
                await read_to_end(answer, 2)
            if generation == 50:  # by then all is loaded and every pool has its size
                before, threads, memory = proxy.descriptors, process.num_threads(), process.memory_info().rss
        async with asyncio.timeout(1):
            await upstream.rests.wait()

        async def settled() -> bool:
            return proxy.descriptors <= before

        await until(settled)
        assert process.num_threads() <= threads
        assert process.children() == []
        assert process.memory_info().rss - memory < MEMORY_NOISE_BYTES
        async with proxy.http.get(f"{proxy.url}{contract.PREFIX}/viewers") as answer:
            assert contract.ViewerList.model_validate_json(await answer.text()).items == ()
        assert upstream.open_most == 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/missing", 502, "404"),
        ("/html", 502, "HTML"),
        ("/junk", 502, "not MPEG-TS"),
        ("/busy", 502, "503"),
        ("/silent", 504, "no media"),
        ("/hang", 504, "no media"),
    ],
)
async def test_viewers_of_a_bad_upstream_are_told_why_and_others_are_untouched(
    upstream: FakeUpstream, path: str, status: int, words: str
):
    async with real_proxy(START_TIMEOUT_SECONDS="3") as proxy:
        await proxy.ensure("demo:", key="good")
        await proxy.ensure(upstream.url(path) + "?password=hunter2")
        async with proxy.http.get(f"{proxy.url}/ts/good") as good:
            assert await good.content.readexactly(188)
            async with asyncio.timeout(5), proxy.http.get(f"{proxy.url}/ts/cam") as answer:
                problem = contract.Problem.model_validate_json(await answer.text())
                assert (answer.status, problem.status) == (status, status)
                assert words in problem.detail
                assert answer.headers["Retry-After"]

            async def idle() -> bool:
                return (await proxy.view()).state == "idle"

            await until(idle)
            async with asyncio.timeout(1):
                await upstream.rests.wait()
            assert (await proxy.view("good")).state == "flowing"
    assert b"hunter2" not in proxy.log


async def test_an_upstream_that_drops_keeps_its_viewer(upstream: FakeUpstream):
    async with real_proxy() as proxy:
        await proxy.ensure(upstream.url("/drop"))
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            got = 0
            async with asyncio.timeout(10):
                while upstream.requests["/drop"] < 3 or got < 300_000:
                    got += len(await answer.content.readany())
            assert not answer.content.at_eof()
    assert upstream.open_most == 1


async def test_a_new_generation_with_another_upstream_keeps_the_viewer(upstream: FakeUpstream):
    async with real_proxy() as proxy, fake_upstream() as other:
        await proxy.ensure(upstream.url("/flow"))
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert await answer.content.readexactly(188)
            assert await proxy.ensure(other.url("/flow"), generation=2) == "replaced"
            async with asyncio.timeout(2):
                await upstream.rests.wait()
                await other.asked.setdefault("/flow", asyncio.Event()).wait()
            assert await answer.content.readexactly(188 * 100)
        assert (await proxy.view()).viewers_ts <= 1


async def test_a_taken_port_is_one_clear_line_and_exit_code_2():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        process = await spawn(HTTP=address)
        _, said = await process.communicate()
    assert process.returncode == 2
    assert said.decode().splitlines() == [f"penstock proxy: cannot listen on {address}: Address already in use"]


async def test_listening_everywhere_without_a_token_is_refused():
    process = await spawn(HTTP="0.0.0.0:8090", CONTROL_TOKEN="")
    _, said = await process.communicate()
    assert process.returncode == 2
    assert said.startswith(b"penstock proxy: PENSTOCK_PROXY_CONTROL_TOKEN: must be set")
    assert len(said.splitlines()) == 1
