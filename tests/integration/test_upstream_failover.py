"""Upstreams that break, stall and refuse, as the viewers of a real proxy process see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import aiohttp
import pytest

from tests.fakes.counters import counter_faults, jumps, null_packets
from tests.fakes.provider import Provider, provider
from tests.fakes.proxy_process import Proxy, real_proxy, until
from tests.fakes.upstream import fake_upstream
from tests.fakes.viewing import decode_errors

DEMO_PIDS = {0x0000, 0x1000, 0x0100, 0x0101}


@dataclass
class Watching:
    """What one MPEG-TS viewer has got, and when it got something."""

    media: bytearray = field(default_factory=bytearray)
    gaps: list[float] = field(default_factory=list)
    ended: bool = False

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        now = asyncio.get_running_loop().time
        last = now()
        async for chunk in answer.content.iter_any():
            self.gaps.append(now() - last)
            last = now()
            self.media += chunk
        self.ended = True

    async def more(self, size: int, seconds: float = 10) -> None:
        """Wait until so many bytes more have come that are no null packets."""
        before = len(self.media) - 188 * null_packets(self.media)

        async def came() -> bool:
            return len(self.media) - 188 * null_packets(self.media) >= before + size

        await until(came, seconds)


@asynccontextmanager
async def watching(proxy: Proxy, key: str = "cam") -> AsyncIterator[Watching]:
    viewer = Watching()
    async with proxy.http.get(f"{proxy.url}/ts/{key}") as answer, asyncio.TaskGroup() as group:
        assert answer.status == 200
        reading = group.create_task(viewer.read(answer))
        try:
            yield viewer
        finally:
            reading.cancel()


async def _rests(one: Provider) -> bool:
    return one.open_now == 0


@pytest.fixture
async def first() -> AsyncIterator[Provider]:
    async with provider() as one:
        yield one


@pytest.fixture
async def second() -> AsyncIterator[Provider]:
    async with provider() as one:
        yield one


async def test_viewers_play_on_across_stall_failover_and_return(first: Provider, second: Provider):
    async with real_proxy(STALL_SECONDS="1.5", HLS_SEGMENT_SECONDS="1") as proxy:
        await proxy.ensure(first.url("/a"), second.url("/b"), return_after_seconds=1.5, loop="allow")

        async def plays(index: int) -> bool:
            return (await proxy.view()).upstream_index == index

        async def listed() -> bool:
            async with proxy.http.get(f"{proxy.url}/hls/cam/index.m3u8") as answer:
                return (await answer.text()).count("#EXT-X-DISCONTINUITY\n") == 3

        async with watching(proxy) as viewer:
            await viewer.more(50_000)
            first.is_silent = True
            await until(partial(plays, 1))
            assert null_packets(bytes(viewer.media)) > 7
            first.is_silent = False
            await until(partial(plays, 0))
            await until(partial(_rests, second))
            first.is_down = True
            first.cut()
            await until(partial(plays, 1))
            await until(listed)
        assert not viewer.ended
        assert (await proxy.view()).connects >= 4
    assert max(viewer.gaps) < 1.5  # the issue says: from the first second of silence
    media = bytes(viewer.media)
    assert counter_faults(media) == []
    assert jumps(media) >= DEMO_PIDS
    assert decode_errors(media) == ""


async def test_ten_channels_in_ten_seconds_of_a_provider_that_gives_one_connection(first: Provider, second: Provider):
    first.pulls_max = second.pulls_max = 1
    second.notices_after_seconds = 0.4
    now = asyncio.get_running_loop().time
    async with real_proxy(HOST_CONNECTIONS_MAX="1", HLS_SEGMENT_SECONDS="1") as proxy:
        for number in range(10):
            await proxy.ensure(first.url(f"/{number}"), key=f"c{number}")
        began = now()
        for number in range(10):
            async with watching(proxy, f"c{number}") as viewer:
                await viewer.more(10_000, 2)
        assert now() - began < 10
        assert (first.refusals, first.open_most) == (0, 1)
        for number in range(3):  # a host that is slow to notice is asked again
            await proxy.ensure(second.url(f"/{number}"), key=f"d{number}")
            async with watching(proxy, f"d{number}") as viewer:
                await viewer.more(10_000, 3)
        assert second.refusals > 0
        await _check_waiting(proxy, first)
        await _check_hls(proxy, first)


async def _check_waiting(proxy: Proxy, first: Provider) -> None:
    """Who comes while another one watches waits, and says what for; with the one that goes it comes in."""
    async with watching(proxy, "c0") as watched, asyncio.TaskGroup() as group:
        await watched.more(1000)
        zapping = group.create_task(_first_bytes(proxy, "c1"))

        async def waits() -> bool:
            view = await proxy.view("c1")
            return (view.state, view.detail) == (
                "waiting",
                f"waiting for a free connection to host {first.host}, limit 1",
            )

        await until(waits)
        await proxy.stop("c0")
        await zapping
    assert first.open_most == 1


async def _check_hls(proxy: Proxy, one: Provider) -> None:
    """Who zaps on the connection that it has does not keep the provider's for as long as a silent viewer would."""
    refusals = one.refusals
    async with aiohttp.ClientSession() as player:
        for key in ("c1", "c2"):
            async with asyncio.timeout(3), player.get(f"{proxy.url}/hls/{key}/index.m3u8") as answer:
                assert answer.status == 200
                await answer.read()
    assert (one.refusals, one.open_most) == (refusals, 1)


async def _first_bytes(proxy: Proxy, key: str) -> None:
    async with watching(proxy, key) as viewer:
        await viewer.more(1000)


async def test_one_that_never_delivers_is_given_up_on_and_one_who_comes_back_within_linger_stays(first: Provider):
    async with fake_upstream() as dead, real_proxy(LINGER_SECONDS="1", START_TIMEOUT_SECONDS="3") as proxy:
        await proxy.ensure(dead.url("/hang"), first.url("/a"), key="unwatched", on_demand=False)
        await proxy.ensure(dead.url("/silent"), key="watched")
        await proxy.ensure(first.url("/b"))
        for _ in range(2):
            async with watching(proxy) as viewer:
                await viewer.more(1000)
        async with watching(proxy) as viewer, proxy.http.get(f"{proxy.url}/ts/watched") as answer:
            assert answer.status == 504
            assert "no media" in await answer.text()
            assert first.requests["/b"] == 1
            assert not viewer.ended

        async def settled() -> bool:
            unwatched, watched = await proxy.view("unwatched"), await proxy.view("watched")
            return (unwatched.state, unwatched.upstream_index, watched.state) == ("flowing", 1, "idle")

        await until(settled)
        async with asyncio.timeout(5):
            await dead.rests.wait()
