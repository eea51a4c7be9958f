"""Who may publish, what else is answered, and what becomes of a publisher whose session goes."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from proxy import publish
from proxy.contract import Problem
from proxy.publish import PublishPolicy
from proxy.upstream import demo
from tests.fakes.sessions import World, build, running, spec

TOKEN = PublishPolicy(token="let-me-in", is_loopback=False)
BEARER = {"Authorization": "Bearer let-me-in"}


@dataclass
class Place:
    world: World
    http: aiohttp.ClientSession
    url: str

    async def push(self, key: str = "cam", data: object = b"", **headers: str) -> tuple[int, str]:
        """Return the status, and the detail of the problem if it is one."""
        async with asyncio.timeout(5), self.http.put(f"{self.url}/publish/{key}", data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status < 400:
                return answer.status, text
            assert answer.content_type == "application/problem+json"
            problem = Problem.model_validate_json(text)
            assert problem.status == answer.status
            return answer.status, problem.detail


@asynccontextmanager
async def place(policy: PublishPolicy = TOKEN, host: str = "127.0.0.1") -> AsyncIterator[Place]:
    async with running(build()) as world, aiohttp.ClientSession() as http:
        world.registry.synced = True
        app = web.Application()
        app.add_routes(publish.routes(world.registry, policy))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Place(world, http, f"http://{host}:{runner.addresses[0][1]}")
        finally:
            world.registry.close()
            await runner.cleanup()


async def live() -> AsyncIterator[bytes]:
    """Media without an end, as an encoder sends it."""
    clip, number = demo.load(), 0
    while True:
        yield clip.round(number)
        await asyncio.sleep(0.02)
        number += 1


async def flowing(here: Place, key: str = "cam") -> None:
    async with asyncio.timeout(5):
        while (session := here.world.registry.get(key)) is None or session.state != "flowing":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(BEARER, id="a bearer"),
        pytest.param({"Authorization": "Basic " + b64encode(b"anyone:let-me-in").decode()}, id="a password"),
        pytest.param({"Expect": "100-continue", **BEARER}, id="one that asks first"),
    ],
)
async def test_a_stream_is_taken_from_whoever_shows_the_token(shown):
    async with place() as here:
        here.world.ensure(spec("cam", "publish:", on_eof="end"))
        assert await here.push(data=demo.load().content[: 188 * 400], **shown) == (204, "")
        session = here.world.registry.get("cam")
        assert session is not None
        assert session.finished_reason == "upstream_ended"


async def test_the_token_may_stand_in_the_address():
    async with place() as here:
        here.world.ensure(spec("cam", "publish:", on_eof="end"))
        assert (await here.push("cam?token=let-me-in", data=demo.load().content[: 188 * 400]))[0] == 204


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Authorization": "Bearer wrong"}, id="another token"),
        pytest.param({"Authorization": "Basic " + b64encode(b"let-me-in:wrong").decode()}, id="another password"),
        pytest.param({"Authorization": "Basic ???"}, id="nonsense"),
        pytest.param({"Expect": "100-continue"}, id="one that asks first"),
    ],
)
async def test_whoever_does_not_is_refused(shown):
    async with place() as here:
        here.world.ensure(spec("cam", "publish:"))
        assert await here.push(data=live(), **shown) == (401, "publishing needs the publish token")


async def test_without_a_token_only_this_machine_may_publish():
    media = demo.load().content[: 188 * 400]
    async with place(PublishPolicy(token=None)) as here:
        here.world.ensure(spec("cam", "publish:", on_eof="end"))
        assert (await here.push(data=media, Origin="http://elsewhere.example"))[0] == 403
        assert (await here.push(data=media, Host="rebound.example"))[0] == 403
        assert (await here.push(data=media))[0] == 204
    async with place(PublishPolicy(token=None, is_loopback=False)) as here:
        status, detail = await here.push(data=media)
        assert status == 403
        assert "PENSTOCK_PROXY_PUBLISH_TOKEN is not set" in detail


async def test_what_is_not_there_to_be_published_is_refused_with_its_reason():
    async with place() as here:
        here.world.ensure(spec("cam", "flow:a"))
        here.world.ensure(spec("gone", "publish:"), stream="s2")
        here.world.stop("gone", stream="s2")
        assert (await here.push(data=live(), **BEARER)) == (
            409, "cam was not announced to be published (its upstream is not publish:)")  # fmt: skip
        assert (await here.push("other", data=live(), **BEARER)) == (404, "nothing runs under other")
        assert (await here.push("gone", data=live(), **BEARER)) == (410, "gone has ended")
        here.world.registry.synced = False
        assert (await here.push("other", data=live(), **BEARER))[0] == 503


async def test_a_second_publisher_is_refused_while_the_first_is_there():
    async with place() as here, asyncio.TaskGroup() as group:
        here.world.ensure(spec("cam", "publish:"))
        first = group.create_task(here.push(data=live(), **BEARER))
        await flowing(here)
        assert await here.push(data=live(), **BEARER) == (409, "somebody publishes this stream already")
        assert not first.done()
        here.world.stop()
        assert await first == (410, "cam has ended")


async def test_a_session_is_kept_while_its_publisher_is_there_and_lingers_no_longer():
    async with place() as here:
        here.world.ensure(spec("cam", "publish:"))
        session = here.world.registry.get("cam")
        assert session is not None
        assert session.state == "idle"
        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(here.push(data=live(), **BEARER))
            await flowing(here)
            assert session.wanted
            pushing.cancel()
        async with asyncio.timeout(5):
            while "the publisher is gone" not in session.view().detail:  # noqa: ASYNC110 - it rings no bell here
                await asyncio.sleep(0.01)


async def test_a_publisher_whose_stream_is_no_longer_to_be_published_is_sent_away():
    async with place() as here, asyncio.TaskGroup() as group:
        here.world.ensure(spec("cam", "publish:"))
        first = group.create_task(here.push(data=live(), **BEARER))
        await flowing(here)
        here.world.ensure(spec("cam", "flow:a"), generation=2)
        assert (await first)[0] == 400


async def test_what_is_no_media_is_not_taken():
    async def page() -> AsyncIterator[bytes]:
        while True:
            yield b"<html>" + b"no media " * 10_000
            await asyncio.sleep(0)

    async with place() as here:
        here.world.ensure(spec("cam", "publish:"))
        assert await here.push(data=page(), **BEARER) == (400, "upstream sends an HTML page, not MPEG-TS")
