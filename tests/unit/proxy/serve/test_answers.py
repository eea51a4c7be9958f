import asyncio

from tests.fakes.viewing import clip, place, until


def test_a_session_that_has_ended_is_gone_and_one_that_failed_says_why(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam", on_eof="end", on_demand=False)
            here.tap.pour(clip(2))
            await until(lambda: session.feed is not None and session.feed.joinable)
            here.tap.end()
            await until(lambda: session.over)
            answer = await here.ask("/ts/cam")
            assert answer.status == 410
            await until(lambda: session.feed is None)
            assert (await here.ask("/hls/cam/index.m3u8")).status == 410

    run(story)


def test_a_key_that_is_no_key_is_not_found(run) -> None:
    async def story() -> None:
        async with place() as here:
            for path in ("/ts/%2e%2e", "/ts/-x", "/hls/a%20b/index.m3u8"):
                assert (await here.ask(path)).status == 404

    run(story)


def test_a_stop_while_the_upstream_starts_is_told_over_hls_too(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            asking = asyncio.ensure_future(here.ask("/hls/cam/index.m3u8"))
            await until(lambda: bool(session.viewers))
            here.stop("cam")
            assert (await asking).status == 410

    run(story)


ELSEWHERE = "https://tv-1.example:8443"


def test_viewers_of_a_stream_that_was_moved_are_sent_on(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam", on_demand=False)
            here.tap.pour(clip(2))
            await until(lambda: session.feed is not None and session.feed.joinable)
            watching = await here.ask("/ts/cam?burst=1")
            assert watching.status == 200
            here.stop("cam", moved_to=ELSEWHERE)
            await watching.reader.read()  # to its end: the player comes again
            for path in ("/ts/cam?burst=1", "/hls/cam/index.m3u8?x=a%20b"):
                for method in ("GET", "HEAD"):
                    answer = await here.ask(path, method)
                    assert (answer.status, answer.headers["location"]) == (307, ELSEWHERE + path)
                    assert answer.headers["cache-control"] == "no-store"
                    assert answer.headers["access-control-allow-origin"] == "*"
            assert (await here.ask("/hls/cam/3.ts")).status == 410, "that number is another segment there"

    run(story)


def test_viewers_who_wait_for_a_picture_are_sent_on_too(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            paths = ["/ts/cam", "/hls/cam/index.m3u8"]
            waiting = [asyncio.ensure_future(here.ask(path)) for path in paths]
            await until(lambda: len(session.viewers) == 2)
            here.stop("cam", moved_to=ELSEWHERE)
            answers = await asyncio.gather(*waiting)
            assert [a.headers["location"] for a in answers] == [ELSEWHERE + path for path in paths]

    run(story)


def test_a_stream_that_comes_back_is_served_again_and_its_end_is_an_end(run) -> None:
    async def story() -> None:
        async with place() as here:
            here.run("cam")
            here.stop("cam", moved_to=ELSEWHERE)
            assert (await here.ask("/ts/cam", "HEAD")).status == 307
            here.run("cam")
            assert (await here.ask("/ts/cam", "HEAD")).status == 200
            assert (await here.ask("/hls/cam/index.m3u8", "HEAD")).status == 200
            here.stop("cam")
            assert (await here.ask("/ts/cam", "HEAD")).status == 410

    run(story)
