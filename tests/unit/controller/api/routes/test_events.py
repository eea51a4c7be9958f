"""Events: announcements as over MQTT, the history, and following it."""

import asyncio
import json
import re

import pytest

from controller.api import sse
from controller.domain.events import StreamAnnounced
from controller.domain.model import ANONYMOUS, Cause, Key
from controller.store.engine import Database
from tests.fakes.api_world import SPEC, World
from tests.fakes.asgi import Client

CAM = {"key": "cam-7", "upstreams": ["http://origin/a.ts"]}
EVENTS = "text/event-stream"


def ids_in(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]


async def test_a_start_and_an_end_are_judged_as_over_mqtt(world: World) -> None:
    started = await world.client.post("/events/stream_started", CAM)
    again = await world.client.post("/events/stream_started", CAM)
    ended = await world.client.post("/events/stream_ended", {"key": "cam-7", "reason": "upstream_ended"})
    repeated = await world.client.post("/events/stream_ended", {"key": "cam-7"})
    answers = (started, again, ended, repeated)
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.json()["verdict"] for answer in answers] == ["started", "repeated", "ended", "already_ended"]
    assert [answer.json()["stream"]["state"] for answer in answers] == ["PENDING", "PENDING", "CLOSED", "CLOSED"]
    assert ended.json()["stream"]["reason"] == "upstream_ended"


async def test_an_end_names_exactly_one_stream(world: World) -> None:
    await world.play("cam-7")
    unknown = await world.client.post("/events/stream_ended", {"key": "cam-8"})
    foreign = await world.client.post("/events/stream_ended", {"key": "cam-7", "source": "enc-9"})
    assert unknown.json() == {"verdict": "unknown", "stream": None}
    assert foreign.json()["verdict"] == "not_owner"
    assert (await world.client.get("/streams/cam-7")).json()["state"] == "LIVE"


async def test_an_early_end_leaves_no_ghost(client: Client) -> None:
    numbered = {"key": "cam-7", "source": "enc-1", "boot_id": "b", "epoch": 3, "seq": 2}
    early = await client.post("/events/stream_ended", numbered)
    late = await client.post("/events/stream_started", numbered | {"seq": 1, "upstreams": ["http://origin/a"]})
    assert (early.json()["verdict"], late.json()["verdict"]) == ("early_end", "already_ended")
    assert (await client.get("/streams?status=all")).json()["items"] == []


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_the_history_can_be_paged(world: World, limit: int) -> None:
    await world.play("cam-7")
    await world.play("cam-8")
    whole = [item["id"] for item in (await world.client.get("/events")).json()["items"]]
    assert whole == sorted(whole, reverse=True)
    assert len(whole) == 6
    paged: list[int] = []
    cursor = ""
    while True:
        found = (await world.client.get(f"/events?limit={limit}{cursor}")).json()
        paged += [item["id"] for item in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = f"&cursor={found['next_cursor']}"
    assert paged == whole


async def test_a_follower_sees_what_happens_from_now_on(world: World) -> None:
    await world.announce("before")
    async with world.client.stream("/events", accept=EVENTS) as stream:
        await stream.until("retry: 2000")
        await world.client.post("/streams", CAM)
        text = await stream.until('"to_state":"PENDING"')
    assert stream.answer.status == 200
    assert stream.answer.headers["content-type"].startswith(EVENTS)
    assert stream.answer.headers["cache-control"] == "no-store"
    assert "before" not in text
    event, number, data = text.partition("retry: 2000\n\n")[2].split("\n")[:3]
    assert event == "event: transition"
    document = json.loads(data.removeprefix("data: "))
    assert (document["key"], f"id: {document['id']}") == ("cam-7", number)


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_follower_that_comes_back_misses_nothing_and_sees_nothing_twice(world: World, how: str) -> None:
    await world.play("cam-7")
    everything = [item["id"] for item in (await world.client.get("/events")).json()["items"]][::-1]
    path, headers = ("/events", {"last_event_id": str(everything[0])}) if how == "header" else ("/events?after=1", {})
    async with world.client.stream(path, accept=EVENTS, **headers) as stream:
        await stream.until(f"id: {everything[-1]}")
        await world.client.delete("/streams/cam-7")
        text = await stream.until('"to_state":"ENDED"')
    assert ids_in(text) == [*everything[1:], everything[-1] + 1]


async def test_more_than_a_batch_comes_in_order(world: World) -> None:
    count = 2 * sse.BATCH_MAX + 1
    cause = Cause("source:anonymous", "a topic")
    await world.record(*(StreamAnnounced(ANONYMOUS, Key(f"cam-{n}"), SPEC, cause) for n in range(count)))
    async with world.client.stream("/events?after=0", accept=EVENTS) as stream:
        text = await stream.until(f"id: {count}\n")
    assert ids_in(text) == list(range(1, count + 1))


async def test_a_follower_of_a_restored_database_is_told_to_begin_anew(world: World) -> None:
    await world.announce("cam-7")
    async with world.client.stream("/events", accept=EVENTS, last_event_id="900") as stream:
        await stream.until("event: reset\nid: 1\n")
        await world.announce("cam-8")
        world.pulse.ring()
        assert "cam-8" in await stream.until('"id":2')


async def test_an_id_that_is_none_is_a_400(client: Client) -> None:
    for bad in ("x", "-1", "9" * 20, "1 2"):
        answer = await client.get("/events", accept=EVENTS, last_event_id=bad)
        assert answer.status == 400
        assert "Last-Event-ID" in answer.json()["detail"]


async def test_the_end_of_the_process_lets_followers_go(world: World) -> None:
    async with world.client.stream("/events", accept=EVENTS) as stream:
        await stream.until("retry")
        world.stopping.set()
        await stream.until("event: bye")
        async with asyncio.timeout(1):
            await stream.ended.wait()
    assert world.pulse.followers == 0


async def test_a_follower_that_goes_away_gives_its_place_back(world: World) -> None:
    async with world.client.stream("/events", accept=EVENTS) as stream:
        await stream.until("retry")
        assert world.pulse.followers == 1
    assert world.pulse.followers == 0


async def test_there_are_only_so_many_followers(world: World) -> None:
    crowded = World(world.database, followers_max=1)
    async with crowded.client.stream("/events", accept=EVENTS) as stream:
        await stream.until("retry")
        answer = await crowded.client.get("/events", accept=EVENTS)
    assert answer.status == 503
    assert answer.headers["retry-after"]
    assert answer.json()["type"] == "urn:penstock:problem:too_many_followers"


async def test_a_database_that_goes_away_ends_the_stream_cleanly(world: World, database: Database) -> None:
    async with world.client.stream("/events", accept=EVENTS) as stream:
        await stream.until("retry")
        await database.dispose()
        world.pulse.ring()
        await stream.until("event: bye")
        await stream.ended.wait()
