"""What the proxies were seen to run."""

from dataclasses import replace

from tests.fakes.api_world import World, session_of


async def test_sessions_are_listed_with_the_placements_that_ask_for_them(world: World) -> None:
    run = await world.play("cam-7")
    await world.play("cam-8")
    world.show(replace(session_of(run), stream_id="ghost", key="ghost"))
    found = (await world.client.get("/sessions")).json()
    assert [(item["key"], item["placement_state"]) for item in found["items"]] == [
        ("cam-7", "observed"),
        ("cam-8", "observed"),
        ("ghost", None),
    ]
    only = (await world.client.get("/sessions?key=cam-8")).json()
    assert [item["key"] for item in only["items"]] == ["cam-8"]


async def test_sessions_can_be_paged(world: World) -> None:
    for key in "abc":
        await world.play(key)
    first = (await world.client.get("/sessions?limit=2")).json()
    second = (await world.client.get(f"/sessions?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["key"] for item in (*first["items"], *second["items"])] == ["a", "b", "c"]
    assert second["next_cursor"] is None


async def test_a_proxy_is_shown_as_it_was_seen_last(world: World) -> None:
    await world.play(viewers_ts=3, bitrate_bps=5)
    (found,) = (await world.client.get("/proxies")).json()["items"]
    assert (found["id"], found["freshness"], found["sessions"], found["viewers"], found["bitrate_bps"]) == (
        "p1",
        "fresh",
        1,
        3,
        5,
    )
