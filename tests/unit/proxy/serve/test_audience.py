"""Who has left over HLS, where nobody says so. How viewers are told apart: ``test_hls``."""

import asyncio

import pytest

from proxy.serve import audience
from proxy.session import Session
from tests.fakes.viewing import MIB, Answer, Place, again, clip, place, until


async def playlist(here: Place, key: str = "cam") -> Answer:
    answer = await here.ask(f"/hls/{key}/index.m3u8", User_Agent="player")
    await body(answer)
    return answer


async def two_streams(here: Place) -> tuple[Session, Session]:
    """Have two streams flow that nobody watches."""
    sessions = here.run("cam", on_demand=False), here.run("dam", on_demand=False)
    await until(lambda: here.tap.opened == 2)
    for _ in sessions:
        here.tap.pour(clip(3), 4 * MIB)  # whole, to the one that has waited longest
        await until(here.tap.chunks.empty)
    return sessions


async def body(answer: Answer) -> None:
    assert answer.status == 200
    await answer.exactly(int(answer.headers["content-length"]))


def test_who_begins_another_stream_on_its_connection_has_left_the_first(run) -> None:
    async def story() -> None:
        async with place() as here:
            first, second = await two_streams(here)
            mine, others = await playlist(here), await playlist(here)
            [_, neighbour] = first.viewers
            zapped = await again(mine, "/hls/dam/index.m3u8", User_Agent="player")
            assert list(first.viewers) == [neighbour]
            assert len(second.viewers) == 1
            assert zapped.status == 200
            await body(await again(others, "/hls/cam/index.m3u8", User_Agent="player"))
            assert list(first.viewers) == [neighbour]

    run(story)


def test_who_comes_back_is_not_taken_to_have_left_again(run) -> None:
    async def story() -> None:
        async with place() as here:
            first, second = await two_streams(here)
            mine = await playlist(here)
            for key in ("dam", "cam", "dam", "cam", "dam"):  # two tabs of one browser
                await body(await again(mine, f"/hls/{key}/index.m3u8", User_Agent="player"))
            assert len(first.viewers) == len(second.viewers) == 1

    run(story)


@pytest.mark.parametrize("keeps", [True, False], ids=["used to keep it", "never kept one"])
def test_who_closes_a_connection_that_it_kept_has_left(run, monkeypatch: pytest.MonkeyPatch, keeps: bool) -> None:
    monkeypatch.setattr(audience, "HUNG_UP_SECONDS", 0.1)

    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            mine = await playlist(here)
            if keeps:
                await body(await again(mine, "/hls/cam/index.m3u8", User_Agent="player"))
            await mine.close()
            stays = await playlist(here)
            await body(await again(stays, "/hls/cam/index.m3u8", User_Agent="player"))
            if keeps:
                await until(lambda: len(session.viewers) == 1, seconds=4)
            else:
                assert len(session.viewers) == 1  # taken for one and the same

    run(story)


def test_a_newcomer_is_taken_for_the_one_that_hung_up_first_and_never_for_one_that_is_here(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(3))
            first, second, third, stays = [await playlist(here) for _ in range(4)]
            one, two, banned, here_still = session.viewers
            for leaves in (third, first, second):
                await leaves.close()
                await asyncio.sleep(0.05)
            here.registry.kick(banned)
            returned = [await playlist(here) for _ in range(2)]
            assert list(session.viewers) == [one, two, banned, here_still]
            tokens = [answer.headers["set-cookie"].partition(";")[0] for answer in (first, second, *returned)]
            assert tokens[2:] == tokens[:2]
            assert (await here.ask("/hls/cam/index.m3u8", User_Agent="player")).status == 410  # it may be the banned
            await body(await again(stays, "/hls/cam/index.m3u8", User_Agent="player"))
            assert len(session.viewers) == 4

    run(story)
