"""Keys that may not start again, and how they may."""

from datetime import timedelta

from controller.domain.model import ANONYMOUS, Block, Key, Reason, SourceId
from controller.store import blocks
from tests.fakes.api_world import World

ENCODER = SourceId("enc-1")


async def block(world: World, *keys: str) -> None:
    run = await world.announce("cam-7")
    until = world.now + timedelta(hours=1)
    held = [Block(Key(key), run.stream.id, Reason.LOOP_DETECTED, "every 8 s", world.now, until) for key in keys]
    await world.database.write(blocks.add, held)


async def test_blocks_are_listed_by_key_in_pages(world: World) -> None:
    await block(world, "c", "a", "b")
    first = (await world.client.get("/blocks?limit=2")).json()
    assert [item["key"] for item in first["items"]] == ["a", "b"]
    assert first["items"][0]["reason"] == "loop_detected"
    second = (await world.client.get(f"/blocks?limit=2&cursor={first['next_cursor']}")).json()
    assert ([item["key"] for item in second["items"]], second["next_cursor"]) == (["c"], None)


async def test_an_announcement_of_a_blocked_key_is_refused_and_counted_until_the_block_is_removed(world: World) -> None:
    await block(world, "a")
    wish = {"key": "a", "upstreams": ["http://origin/a.ts"]}
    for _ in range(2):
        answer = await world.client.post("/streams", wish)
        assert (answer.status, answer.json()["verdict"]) == (409, "blocked")
        assert answer.json()["type"] == "urn:penstock:problem:blocked"
    [held] = (await world.client.get("/blocks")).json()["items"]
    assert (held["refused"], held["refused_source"]) == (2, ANONYMOUS)
    assert held["refused_at"] is not None
    assert (await world.client.delete("/blocks/a")).status == 204
    assert (await world.client.get("/blocks")).json()["items"] == []
    assert (await world.client.post("/streams", wish)).status == 201


async def test_the_source_that_was_refused_is_asked_to_announce_again(world: World) -> None:
    await block(world, "a", "b")
    await world.client.post("/streams", {"key": "a", "source": "enc-1", "upstreams": ["http://origin/a.ts"]})
    await world.client.delete("/blocks/a")
    await world.client.delete("/blocks/b")
    assert world.asked_for_births == [ENCODER]


async def test_a_key_that_is_not_blocked_is_not_found(world: World) -> None:
    answer = await world.client.delete("/blocks/nope")
    assert answer.status == 404
    assert answer.json()["type"] == "urn:penstock:problem:not_found"
