"""Where to watch: redirects and the playlist."""

from datetime import timedelta

import pytest

from controller.domain.lifecycle import Draft
from controller.domain.model import Output
from controller.domain.observation import SessionState
from tests.fakes.api_world import BOOT, P1, World, session_of
from tests.fakes.asgi import Client


@pytest.mark.parametrize(
    ("query", "url"),
    [
        ("", "http://media.example/ts/cam-7"),
        ("?output=ts", "http://media.example/ts/cam-7"),
        ("?output=hls", "http://media.example/hls/cam-7/index.m3u8"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_viewer_is_sent_to_the_proxy_that_carries_the_stream(
    world: World, method: str, query: str, url: str
) -> None:
    await world.play(state=SessionState.IDLE)
    answer = await world.client.request(method, f"/watch/cam-7{query}")
    assert (answer.status, answer.headers["location"]) == (307, url)


async def test_a_stream_with_hls_alone_is_watched_by_hls(world: World) -> None:
    await world.client.post("/streams", {"key": "cam-7", "upstreams": ["http://o/a"], "outputs": ["hls"]})
    run = await world.place(await world.run("cam-7"))
    world.show(session_of(run, outputs=(Output.HLS,)))
    assert (await world.client.get("/watch/cam-7")).headers["location"].endswith("/hls/cam-7/index.m3u8")
    assert (await world.client.get("/watch/cam-7?output=ts")).status == 404


async def test_nobody_is_sent_where_nothing_was_seen_yet(world: World) -> None:
    await world.place(await world.announce())
    answer = await world.client.get("/watch/cam-7")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:penstock:problem:not_placed_yet"


async def test_while_it_is_replaced_viewers_go_where_it_still_plays(world: World) -> None:
    run = await world.play()

    def replace(draft: Draft) -> None:
        draft.mark_stopping(1)
        draft.place(P1, BOOT, generation=2, why="spec 2 instead of 1")

    await world.change(run, replace)
    assert (await world.client.get("/watch/cam-7")).status == 307


async def test_what_has_ended_is_gone_for_a_while_and_then_unknown(world: World) -> None:
    await world.play()
    await world.client.delete("/streams/cam-7")
    assert (await world.client.get("/watch/cam-7")).status == 410
    await world.announce("cam-8")
    await world.client.delete("/streams/cam-8")
    assert (await world.client.get("/watch/cam-8")).status == 410
    world.now += timedelta(minutes=11)
    assert (await world.client.get("/watch/cam-8")).status == 404
    assert (await world.client.get("/watch/cam-7")).status == 410, "it still runs somewhere"


async def test_an_unknown_key_is_a_404(client: Client) -> None:
    assert (await client.get("/watch/nobody")).status == 404


async def test_the_playlist_names_every_active_stream(world: World) -> None:
    await world.announce("b", labels=(("group", "News"), ("name", 'The "B"')))
    await world.announce("a", labels=(("logo", "http://x/l.png"),))
    await world.announce("over")
    await world.client.delete("/streams/over")
    answer = await world.client.get("/playlist.m3u?output=hls", host="tv.example:8080")
    assert answer.headers["content-type"] == "audio/x-mpegurl"
    assert answer.body.decode() == (
        "#EXTM3U\n"
        '#EXTINF:-1 tvg-id="a" tvg-name="a" tvg-logo="http://x/l.png",a\n'
        "http://tv.example:8080/watch/a?output=hls\n"
        '#EXTINF:-1 tvg-id="b" tvg-name="The \'B\'" group-title="News",The \'B\'\n'
        "http://tv.example:8080/watch/b?output=hls\n"
    )


async def test_the_playlist_can_be_narrowed(world: World) -> None:
    await world.announce("a", labels=(("group", "x"),))
    await world.client.post("/streams", {"key": "b", "upstreams": ["http://o/a"], "outputs": ["hls"]})
    assert b"/watch/b" not in (await world.client.get("/playlist.m3u?label=group=x")).body
    assert b"/watch/b" not in (await world.client.get("/playlist.m3u?output=ts")).body
    assert (await world.client.get("/playlist.m3u?label=none=x")).body == b"#EXTM3U\n"
