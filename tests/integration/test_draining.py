"""A proxy is emptied while people watch: real proxies, a real upstream, and viewers who are sent on."""

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from controller.domain.controls import DRAIN, Scope
from controller.domain.model import Upstream
from controller.proxy_client import ProxyClient, http_session
from controller.store import controls
from controller.store.engine import Database
from tests.fakes.api_world import open_database
from tests.fakes.control_room import SPEC, ControlRoom
from tests.fakes.mqtt import until
from tests.fakes.proxy_process import TOKEN, Proxy, real_proxy
from tests.fakes.upstream import FakeUpstream, fake_upstream

KEYS = ("cam-0", "cam-1", "cam-2")


@pytest.fixture
async def database(tmp_path: Path):
    opened = await open_database(tmp_path)
    yield opened
    await opened.dispose()


async def runs_on(proxy: Proxy) -> set[str]:
    return {view.key for view in (await proxy.list()).sessions}


async def all_live(room: ControlRoom) -> bool:
    return {await room.state(key) for key in KEYS} == {"LIVE"}


async def set_drain(database: Database, proxy_id: str) -> None:
    await database.write(
        controls.put_now, Scope.PROXY, proxy_id, DRAIN, value="", owner="bob", why="", for_seconds=None
    )


async def brought_up(room: ControlRoom, upstream: FakeUpstream) -> None:
    spec = replace(SPEC, upstreams=(Upstream(upstream.url("/flow")),))
    for key in KEYS:
        await room.announce(key, spec=spec)
    await until(lambda: all_live(room), "all are LIVE")


async def media_from(answer: aiohttp.ClientResponse) -> bytes:
    async with asyncio.timeout(10):
        return await answer.content.readexactly(188)


async def test_a_drained_proxy_is_left_and_its_viewers_are_sent_on(database: Database):
    async with (
        real_proxy(ID="a") as a,
        real_proxy(ID="b") as b,
        fake_upstream() as upstream,
        http_session() as http,
    ):
        limits = {"list_timeout_seconds": 5.0, "command_timeout_seconds": 5.0}
        room = await ControlRoom.open(database, [ProxyClient(http, p.url, token=TOKEN, **limits) for p in (a, b)])
        async with room.running():
            await brought_up(room, upstream)
            old, new, name = (a, b, "a") if "cam-0" in await runs_on(a) else (b, a, "b")
            async with old.http.get(f"{old.url}/ts/cam-0") as watching:
                assert (await media_from(watching))[:1] == b"G"
                await set_drain(database, name)
                room.queue.ring_all()
                await until(lambda: is_empty(old), "nothing runs there any more")
                async with asyncio.timeout(5):
                    while await watching.content.readany():  # to its end: a player comes again
                        pass
            assert await runs_on(new) == set(KEYS)
            assert await all_live(room)
            async with old.http.get(f"{old.url}/ts/cam-0") as again:
                assert (again.status, str(again.url)) == (200, f"{new.url}/ts/cam-0")
                assert (await media_from(again))[:1] == b"G"
            async with old.http.get(f"{old.url}/hls/cam-0/index.m3u8", allow_redirects=False) as playlist:
                assert (playlist.status, playlist.headers["Location"]) == (307, f"{new.url}/hls/cam-0/index.m3u8")

            await database.write(controls.remove, Scope.PROXY, name, DRAIN)
            await until(lambda: rests(room), "nothing is left to be done")
            assert await runs_on(old) == set(), "what has moved stays where it is"


async def is_empty(proxy: Proxy) -> bool:
    return not await runs_on(proxy)


async def rests(room: ControlRoom) -> bool:
    return (await room.full()).is_empty
