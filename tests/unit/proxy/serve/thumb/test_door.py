"""Snapshots over HTTP, from real media by real ffmpeg."""

from proxy.serve.thumb.snapshots import FRESH_SECONDS
from tests.fakes.viewing import clip, place, until


def test_the_newest_picture_is_shown_while_somebody_watches(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam", outputs=["ts"])
            idle = await here.ask("/thumb/cam.jpg")
            assert idle.status == 404
            assert idle.headers["content-type"].startswith("application/problem+json")
            assert here.tap.opened == 0
            here.tap.pour(clip(3))
            await here.ask("/ts/cam")
            await until(lambda: here.tap.chunks.empty() and session.feed.key_picture() is not None)
            shown = await here.ask("/thumb/cam.jpg")
            assert (shown.status, shown.headers["content-type"]) == (200, "image/jpeg")
            assert shown.headers["cache-control"] == f"max-age={FRESH_SECONDS:.0f}"
            assert shown.headers["access-control-allow-origin"] == "*"
            assert shown.headers["last-modified"]
            assert (await shown.exactly(int(shown.headers["content-length"]))).startswith(b"\xff\xd8")
            head = await here.ask("/thumb/cam.jpg", "HEAD")
            assert (head.status, head.headers["etag"]) == (200, shown.headers["etag"])
            same = await here.ask("/thumb/cam.jpg", If_None_Match=shown.headers["etag"])
            assert same.status == 304
            assert len(session.viewers) == 1
            assert (await here.ask("/thumb/cam.jpg", "OPTIONS")).status == 204

    run(story)


def test_what_does_not_run_has_no_picture(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("gone")
            here.stop("gone")
            assert (await here.ask("/thumb/gone.jpg")).status == 410
            assert (await here.ask("/thumb/nothing.jpg")).status == 404
            assert (await here.ask("/thumb/nothing.png")).status == 404

    run(story)
