"""What the control API adds to the contract: who gets in, what is too large, what probes and scrapers see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from proxy import control
from proxy.contract import PREFIX, Problem, SessionList
from proxy.control.routes import BODY_BYTES_MAX
from proxy.control.watch import WATCHERS_MAX, Bell
from tests.fakes.sessions import World, build, running, spec

TOKEN = "t"


@asynccontextmanager
async def serving(*, token: str | None = TOKEN) -> AsyncIterator[tuple[World, ClientSession]]:
    async with running(build()) as world:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.add_routes(control.health_routes(world.registry, {"vanished": 2}))
        app.add_subapp(PREFIX, control.application(world.registry, token))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with ClientSession(url, headers=headers) as http:
                yield world, http
        finally:
            await runner.cleanup()


async def test_without_a_token_only_loopback_names_are_answered():
    async with serving(token=None) as (_, http):
        async with http.get(f"{PREFIX}/sessions") as answer:
            assert answer.status == 200
            SessionList.model_validate_json(await answer.text())
        async with http.get(f"{PREFIX}/sessions", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403


async def test_a_body_that_is_too_large_is_a_problem():
    async with serving() as (_, http):
        body = b'{"x":"' + b"x" * BODY_BYTES_MAX + b'"}'
        async with http.put(f"{PREFIX}/sessions/s", data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 413
            assert Problem.model_validate_json(await answer.text()).status == 413


async def test_a_body_of_another_kind_is_a_problem():
    async with serving() as (_, http), http.put(f"{PREFIX}/sessions/s", data=b"{}") as answer:
        assert answer.status == 415


async def test_a_problem_never_repeats_what_was_sent():
    body = b'{"epoch":1,"generation":1,"boot_id":"b","token":1,"spec":{"key":"hunter2 ","upstreams":[{"url":1}]}}'
    headers = {"Content-Type": "application/json"}
    async with serving() as (_, http), http.put(f"{PREFIX}/sessions/s", data=body, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 400
        assert "spec.key" in text
        assert "hunter2" not in text


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("PATCH", "/sessions"), ("PUT", "/sessions/a%20b")])
async def test_what_does_not_exist_is_a_problem(method: str, path: str):
    async with serving() as (_, http), http.request(method, PREFIX + path) as answer:
        assert answer.status in {400, 404, 405}
        Problem.model_validate_json(await answer.text())


async def test_watchers_are_bounded():
    async with serving() as (_, http):
        answers = [await http.get(f"{PREFIX}/sessions/watch") for _ in range(WATCHERS_MAX + 1)]
        assert [answer.status for answer in answers] == [200] * WATCHERS_MAX + [503]
        for answer in answers:
            answer.close()


async def test_probes_and_figures_need_no_token():
    async with serving() as (world, http):
        world.ensure(spec("cam"))
        for path, text in (
            ("/healthz", "ok"),
            ("/readyz", "ok"),
            ("/metrics", 'penstock_proxy_sessions{state="idle"} 1.0'),
            ("/metrics", 'penstock_proxy_viewers_dropped_total{cause="vanished"} 2.0'),
        ):
            async with http.get(path, headers={"Authorization": ""}) as answer:
                assert answer.status == 200
                assert text in await answer.text()
        world.registry.draining = True
        async with http.get("/readyz") as answer:
            assert answer.status == 503


@pytest.mark.looptime
async def test_a_bell_tells_what_came_together_once_and_then_keeps_silent():
    bell = Bell()
    for stream_id in ("s1", "s2", "s1"):
        bell.ring(stream_id)
    assert await bell.heard() == ("s1", "s2")
    assert await bell.heard() == ()
