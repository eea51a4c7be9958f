"""Who watches, asked of the proxies."""

from dataclasses import replace

import pytest

from controller.domain.model import Key, Output, ProxyId, StreamId
from controller.domain.observation import Observed, Viewer
from tests.fakes.api_world import P1, World

P2 = ProxyId("p2")


def viewer(name: str, proxy_id: ProxyId = P1, **fields: object) -> Viewer:
    one = Viewer(name, proxy_id, StreamId("s"), Key("cam-7"), Output.TS, "192.0.2.1", "VLC", 3.0, 10, 0, 26, 0)
    return replace(one, **fields)


@pytest.fixture
def watched(world: World) -> World:
    world.observed = Observed((*world.observed.proxies, replace(world.observed.proxies[0], proxy_id=P2)))
    world.viewers = {P1: [viewer("v1"), viewer("v2", key=Key("cam-8"))], P2: [viewer("v3", P2)]}
    return world


async def test_the_viewers_of_all_proxies_are_one_list(watched: World) -> None:
    found = (await watched.client.get("/viewers")).json()
    assert [(item["id"], item["proxy_id"]) for item in found["items"]] == [("v1", "p1"), ("v2", "p1"), ("v3", "p2")]
    assert (found["unreachable"], found["next_cursor"]) == ([], None)
    assert [v["id"] for v in (await watched.client.get("/viewers?key=cam-8")).json()["items"]] == ["v2"]


async def test_viewers_can_be_paged(watched: World) -> None:
    first = (await watched.client.get("/viewers?limit=2")).json()
    second = (await watched.client.get(f"/viewers?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["id"] for item in (*first["items"], *second["items"])] == ["v1", "v2", "v3"]
    assert second["next_cursor"] is None


async def test_a_proxy_that_does_not_answer_is_named(watched: World) -> None:
    del watched.viewers[P2]
    found = (await watched.client.get("/viewers")).json()
    assert ([item["id"] for item in found["items"]], found["unreachable"]) == (["v1", "v2"], ["p2"])


async def test_only_the_viewers_of_a_stream(world: World) -> None:
    run = await world.play("cam-7")
    world.viewers[P1] = [viewer("v1", stream_id=run.stream.id), viewer("v2", key=Key("cam-7"))]
    found = (await world.client.get("/streams/cam-7/viewers")).json()
    assert [item["id"] for item in found["items"]] == ["v1"], "v2 watches another run of the key"


@pytest.mark.parametrize("query", ["", "?proxy_id=p2"])
async def test_a_viewer_can_be_ended(watched: World, query: str) -> None:
    assert (await watched.client.delete(f"/viewers/v3{query}")).status == 204
    assert watched.viewers[P2] == []
    assert len(watched.viewers[P1]) == 2


@pytest.mark.parametrize("path", ["/viewers/v9", "/viewers/v3?proxy_id=p1", "/viewers/v3?proxy_id=p9"])
async def test_a_viewer_that_is_not_there_is_a_404(watched: World, path: str) -> None:
    answer = await watched.client.delete(path)
    assert (answer.status, answer.json()["type"]) == (404, "urn:penstock:problem:not_found")


async def test_a_viewer_that_may_be_at_an_unreachable_proxy_is_not_called_unknown(watched: World) -> None:
    del watched.viewers[P2]
    answer = await watched.client.delete("/viewers/v3")
    assert (answer.status, answer.json()["type"]) == (502, "urn:penstock:problem:proxy_unreachable")
