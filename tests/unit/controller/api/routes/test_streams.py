"""Streams: announce, list, show, stop."""

from typing import Any

import pytest

from controller.domain.events import Order, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import Cause, Key, PlacementState, SourceId, State
from controller.domain.observation import SessionState
from controller.store.engine import Database
from tests.fakes.api_world import SPEC, World
from tests.fakes.asgi import Client

CAM = {"key": "cam-7", "upstreams": ["http://origin/a.ts"]}


async def keys(client: Client, path: str) -> list[str]:
    answer = await client.get(path)
    assert answer.status == 200, answer.body
    return sorted(item["key"] for item in answer.json()["items"])


async def test_an_announcement_makes_a_stream_and_wakes_the_loop(world: World) -> None:
    answer = await world.client.post("/streams", CAM)
    assert answer.status == 201
    assert answer.headers["location"] == f"/streams/{answer.json()['id']}"
    assert (answer.json()["state"], answer.json()["source"], answer.json()["epoch"]) == ("PENDING", "anonymous", 1)
    assert world.woken == ["cam-7"]
    shown = await world.client.get(answer.headers["location"])
    assert shown.json() == answer.json()


async def test_the_same_again_is_a_repeat_and_another_spec_an_update(client: Client) -> None:
    first = await client.post("/streams", CAM)
    again = await client.post("/streams", CAM)
    changed = await client.post("/streams", CAM | {"outputs": ["ts"]})
    assert (first.status, again.status, changed.status) == (201, 200, 200)
    assert first.json()["id"] == again.json()["id"] == changed.json()["id"]
    assert (again.json()["spec_generation"], changed.json()["spec_generation"]) == (1, 2)


@pytest.mark.parametrize(
    ("before", "sent", "verdict"),
    [
        ([], CAM | {"source": "enc-2"}, "not_owner"),
        ([], CAM | {"source": "enc-1"}, "unnumbered"),
        ([], CAM | {"source": "enc-1", "epoch": 4, "seq": 1}, "stale"),
        ([], CAM | {"source": "enc-1", "epoch": 4, "seq": 1, "boot_id": "another"}, "regressed"),
        (
            [StreamEndAnnounced(SourceId("enc-1"), Key("cam-7"), Cause("source:enc-1", "t"), Order(5, 2), "boot")],
            CAM | {"source": "enc-1", "epoch": 5, "seq": 3, "boot_id": "boot"},
            "already_ended",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_announcement_that_does_not_count_is_a_conflict(
    world: World, before: list[Any], sent: dict[str, Any], verdict: str
) -> None:
    source = SourceId("enc-1")
    await world.record(
        StreamAnnounced(source, Key("cam-7"), SPEC, Cause("source:enc-1", "t"), Order(5, 1), boot_id="boot"), *before
    )
    answer = await world.client.post("/streams", sent)
    assert answer.status == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["verdict"] == verdict
    assert answer.json()["detail"]
    assert world.asked_for_births == ([source] if verdict == "regressed" else [])


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"upstreams": ["http://origin/a"]}, "body.key"),
        ({"key": "cam-7"}, "body.upstreams"),
        (CAM | {"key": "no spaces"}, "body.key"),
        (CAM | {"upstreams": ["gopher://x"]}, "body.upstreams.0.url"),
        (CAM | {"epoch": 1}, "epoch and seq"),
        (CAM | {"on_demand": "yes"}, "body.on_demand"),
        (["cam-7"], "body"),
        ("cam-7", "body"),
    ],
)
async def test_an_announcement_that_cannot_be_read_says_where(client: Client, document: Any, place: str) -> None:
    answer = await client.post("/streams", document)
    assert answer.status == 400
    assert place in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"key": "\\ud800"}', b"[" * 5000, b"NaN"])
async def test_a_body_that_is_no_json_is_a_400(client: Client, body: bytes) -> None:
    answer = await client.request("POST", "/streams", body=body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_answer_never_repeats_what_was_sent_wrongly(client: Client) -> None:
    answer = await client.post("/streams", CAM | {"upstreams": ["http://user:hunter2@"]})
    assert answer.status == 400
    assert b"hunter2" not in answer.body


async def test_credentials_are_not_shown(client: Client) -> None:
    upstream = {"url": "http://me:hunter2@origin/a.ts?x=hunter2&channel=1", "headers": {"X-Key": "hunter2"}}
    answer = await client.post("/streams", CAM | {"upstreams": [upstream]})
    assert b"hunter2" not in answer.body
    assert answer.json()["spec"]["upstreams"] == [
        {"url": "http://***@origin/a.ts?x=***&channel=1", "headers": {"X-Key": "***"}, "connections_max": None}
    ]


async def test_a_stop_is_decided_at_once_and_confirmed_by_what_is_seen(world: World) -> None:
    run = await world.play()
    decided = await world.client.delete("/streams/cam-7?detail=maintenance")
    assert decided.status == 202
    assert (decided.json()["state"], decided.json()["reason"], decided.json()["reason_detail"]) == (
        "ENDED",
        "operator_stopped",
        "maintenance",
    )
    # Nothing leaves the list while it plays.
    shown = (await world.client.get("/streams")).json()["items"][0]
    assert [(s["placement_state"], s["state"]) for s in shown["sessions"]] == [("stopping", "flowing")]
    assert world.woken == ["cam-7"]

    again = await world.client.delete(f"/streams/{run.stream.id}")
    assert (again.status, again.json()["state"]) == (202, "ENDED")
    transitions = (await world.client.get("/streams/cam-7/transitions")).json()["items"]
    assert [item["to_state"] for item in transitions] == ["ENDED", "LIVE", "STARTING", "PENDING"]
    assert transitions[0]["actor"] == "operator:api"


async def test_a_stop_of_what_is_not_placed_closes_it_and_can_be_repeated(client: Client) -> None:
    await client.post("/streams", CAM)
    first, second = await client.delete("/streams/cam-7"), await client.delete("/streams/cam-7")
    assert (first.status, second.status) == (200, 200)
    assert first.json() == second.json()
    assert first.json()["state"] == "CLOSED"


async def test_a_stop_by_id_never_touches_a_newer_run_of_the_key(client: Client) -> None:
    old = (await client.post("/streams", CAM)).json()
    await client.delete("/streams/cam-7")
    new = (await client.post("/streams", CAM)).json()
    assert new["id"] != old["id"]
    await client.delete(f"/streams/{old['id']}")
    assert (await client.get("/streams/cam-7")).json()["state"] == "PENDING"
    assert (await client.get("/streams/cam-7")).json()["id"] == new["id"]


@pytest.mark.parametrize("path", ["", "/transitions", "/sessions", "/viewers", "/stats", "/why"])
async def test_an_unknown_stream_is_a_404(client: Client, path: str) -> None:
    answer = await client.get(f"/streams/nobody{path}")
    assert answer.status == 404
    assert answer.json()["type"] == "urn:penstock:problem:not_found"


async def test_a_stop_of_an_unknown_stream_is_a_404(client: Client) -> None:
    assert (await client.delete("/streams/nobody")).status == 404


# Filters


@pytest.fixture
async def mixed(world: World) -> Client:
    await world.announce("pending", labels=(("group", "a"), ("name", "x")))
    await world.play("live")
    await world.play("ended")
    await world.announce("closed", labels=(("group", "a"),))
    await world.client.delete("/streams/ended")
    await world.client.delete("/streams/closed")
    return world.client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["ended", "live", "pending"]),
        ("?status=all", ["closed", "ended", "live", "pending"]),
        ("?status=active", ["live", "pending"]),
        ("?status=LIVE", ["live"]),
        ("?status=live,ended", ["ended", "live"]),
        ("?status=live&status=closed", ["closed", "live"]),
        ("?status=stalled", []),
        ("?key=live", ["live"]),
        ("?key=closed", []),
        ("?key=closed&status=all", ["closed"]),
        ("?label=group=a", ["pending"]),
        ("?label=group=a&label=name=x", ["pending"]),
        ("?label=group=b", []),
        ("?label=group=a&status=all", ["closed", "pending"]),
    ],
)
async def test_a_list_holds_what_was_asked_for(mixed: Client, query: str, expected: list[str]) -> None:
    assert await keys(mixed, f"/streams{query}") == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 20])
async def test_pages_together_are_the_list_whatever_their_size(world: World, limit: int) -> None:
    await world.record(
        *(StreamAnnounced(SourceId("enc-1"), Key(f"cam-{n}"), SPEC, Cause("source:enc-1", "t")) for n in range(7))
    )
    whole = [item["id"] for item in (await world.client.get("/streams?limit=1000")).json()["items"]]
    assert len(whole) == 7
    paged: list[str] = []
    cursor = ""
    while True:
        found = (await world.client.get(f"/streams?limit={limit}{cursor}")).json()
        assert len(found["items"]) <= limit
        paged += [item["id"] for item in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = f"&cursor={found['next_cursor']}"
    assert paged == whole


async def test_a_stream_that_comes_between_two_pages_moves_nothing(world: World) -> None:
    for n in range(4):
        await world.announce(f"cam-{n}")
    first = (await world.client.get("/streams?limit=2")).json()
    await world.announce("cam-new")
    second = (await world.client.get(f"/streams?limit=2&cursor={first['next_cursor']}")).json()
    shown = [item["key"] for item in (*first["items"], *second["items"])]
    assert shown == ["cam-3", "cam-2", "cam-1", "cam-0"]


# What a stream shows of what runs


async def test_a_stream_shows_its_placement_and_what_its_proxy_runs(world: World) -> None:
    await world.play(viewers_ts=2, viewers_hls=1, bitrate_bps=8_000_000, bytes_in=10, upstream_index=1)
    found = (await world.client.get("/streams/cam-7")).json()
    (seen,) = found["sessions"]
    assert found["viewers"] == 3
    assert (seen["proxy_id"], seen["generation"], seen["placement_state"], seen["state"]) == (
        "p1",
        1,
        "observed",
        "flowing",
    )
    assert (seen["viewers"], seen["bitrate_bps"], seen["is_fresh"]) == (3, 8_000_000, True)
    assert seen["upstream_index"] == 1
    assert found["links"] == {
        "ts": "http://media.example/ts/cam-7",
        "hls": "http://media.example/hls/cam-7/index.m3u8",
        "thumb": "http://media.example/thumb/cam-7.jpg",
        "watch": "http://localhost/watch/cam-7",
    }


async def test_a_stream_whose_session_is_not_seen_has_no_media_links(world: World) -> None:
    await world.play()
    world.hide()
    found = (await world.client.get("/streams/cam-7")).json()
    assert (found["links"]["ts"], found["links"]["hls"], found["links"]["thumb"]) == (None, None, None)
    assert (found["sessions"][0]["placement_state"], found["sessions"][0]["state"]) == (
        PlacementState.OBSERVED,
        None,
    )


async def test_sessions_of_a_stream_can_be_paged(world: World) -> None:
    run = await world.play()
    world.show(*(world.observed.proxies[0].sessions[0].__class__(
        run.stream.id, run.stream.key, 1, generation, (), SessionState.IDLE
    ) for generation in (5, 9)))  # fmt: skip
    first = (await world.client.get("/streams/cam-7/sessions?limit=2")).json()
    second = (await world.client.get(f"/streams/cam-7/sessions?limit=2&cursor={first['next_cursor']}")).json()
    assert [s["generation"] for s in (*first["items"], *second["items"])] == [1, 5, 9]
    assert second["next_cursor"] is None


async def test_a_thousand_streams_are_one_page(world: World, database: Database) -> None:
    await world.record(
        *(StreamAnnounced(SourceId("enc-1"), Key(f"cam-{n}"), SPEC, Cause("source:enc-1", "t")) for n in range(1000))
    )
    found = (await world.client.get("/streams?limit=1000")).json()
    assert len(found["items"]) == 1000
    assert found["next_cursor"] is None
    assert len((await world.client.get("/streams")).json()["items"]) == 100
    assert {item["state"] for item in found["items"]} == {State.PENDING}
