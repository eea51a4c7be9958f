"""What waiting viewers are told, in virtual time."""

import asyncio

import pytest

from proxy.errors import StartFailedError
from proxy.session.gate import Gate
from proxy.upstream.ports import RoundFailed

pytestmark = pytest.mark.looptime

BUSY = RoundFailed(rounds=1, delivered=False, lasting=False, late=False, detail="upstream answered 503")
SILENT = RoundFailed(rounds=1, delivered=False, lasting=False, late=True, detail="upstream sent no media for 9.0 s")


def gate() -> Gate:
    return Gate(timeout_seconds=10, hold_seconds=2, now=asyncio.get_running_loop().time)


async def told(waited_at: Gate) -> tuple[int, str] | None:
    try:
        await waited_at.passed()
    except StartFailedError as failure:
        return failure.status, failure.reason
    return None


async def test_who_waits_passes_when_it_opens():
    waited_at = gate()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(told(waited_at))
        await asyncio.sleep(3)
        assert not waited_at.is_open
        waited_at.open()
    assert waiting.result() is None
    assert await told(waited_at) is None


@pytest.mark.parametrize(
    ("failed", "status", "words"),
    [(None, 504, "no picture"), (BUSY, 502, "503"), (SILENT, 504, "no media")],
    ids=["nothing known", "wrong answers", "silence"],
)
async def test_who_waits_in_vain_hears_why(failed: RoundFailed | None, status: int, words: str):
    waited_at = gate()
    if failed is not None:
        waited_at.note(failed)
    answer = await told(waited_at)
    assert asyncio.get_running_loop().time() == 10
    assert answer is not None
    assert answer[0] == status
    assert words in answer[1]


async def test_a_refusal_holds_for_a_while_or_for_good():
    waited_at = gate()
    waited_at.note(BUSY)
    assert waited_at.refuse() == BUSY.detail
    assert await told(waited_at) == (502, BUSY.detail)
    assert waited_at.refuses(for_good=False)
    await asyncio.sleep(2)
    assert not waited_at.refuses(for_good=False)
    assert waited_at.refuses(for_good=True)
    waited_at.open()
    assert not waited_at.refuses(for_good=True)
    assert waited_at.is_open


async def test_doubt_makes_new_viewers_wait_again():
    waited_at = gate()
    waited_at.open()
    waited_at.doubt()
    assert not waited_at.is_open
    assert (await told(waited_at) or (0, ""))[0] == 504
    waited_at.open()
    assert await told(waited_at) is None


async def test_the_end_lets_everybody_go():
    waited_at = gate()
    waited_at.end()
    assert await told(waited_at) is None
