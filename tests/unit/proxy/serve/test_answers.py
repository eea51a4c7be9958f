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
