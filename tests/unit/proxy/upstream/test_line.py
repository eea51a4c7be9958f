"""One attempt at one upstream, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from proxy.contract import Upstream
from proxy.core.mpegts import NULL_PACKET
from proxy.errors import UpstreamAnswerError
from proxy.upstream.beat import BEAT_SECONDS
from proxy.upstream.items import Discontinuity, Item, Losses, Quiet, Tap
from proxy.upstream.line import JUNK_BYTES_MAX, Line, LineHooks, Patience
from proxy.upstream.slots import Slot, Slots

pytestmark = pytest.mark.looptime

UPSTREAM = Upstream(url="http://tv.test/1")


@dataclass
class Told:
    """What a line said to its pull; every whole packet counts as media."""

    opened: int = 0
    waits: list[str] = field(default_factory=list)
    media: bytes = b""
    heeded: list[Discontinuity | Losses] = field(default_factory=list)

    def on_open(self, _line: Line) -> None:
        self.opened += 1

    def on_wait(self, _line: Line, why: str) -> None:
        self.waits.append(why)

    def write(self, _line: Line, chunk: bytes, _now: float) -> int:
        is_media = chunk.startswith(b"\x47")
        self.media += chunk if is_media else b""
        return len(chunk) if is_media else 0

    def heed(self, _line: Line, item: Discontinuity | Losses) -> None:
        self.heeded.append(item)


def line(told: Told, *, slot_seconds: float = 5, open_seconds: float = 9, silence_seconds: float = 15) -> Line:
    hooks = LineHooks(told.on_open, told.on_wait, told.write, told.heed)
    slot = Slot.of(UPSTREAM, lambda: None)
    return Line(0, UPSTREAM, slot, patience=Patience(slot_seconds, open_seconds, silence_seconds), hooks=hooks)


def reader(*steps: float | Item | Exception):
    """Return what opens an upstream that does these steps: waits for seconds, gives items, or fails."""

    async def read(_upstream: Upstream) -> AsyncGenerator[Item, None]:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    return read


async def run(one: Line, *steps: float | Item | Exception) -> float:
    """Return how long it took."""
    began = asyncio.get_running_loop().time()
    await one.run(reader(*steps), Slots())
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize(
    ("steps", "words", "seconds"),
    [
        ((NULL_PACKET, 3.0, NULL_PACKET), "", 3),
        ((), "ended before any media", 0),
        ((20.0,), "no media for 9.0 s", 9),
        ((b"a little junk", 20.0), "no media for 9.0 s", 9),
        ((b"j" * 4000, 20.0), "something unknown", 9),
        ((b"<html>" + b"j" * JUNK_BYTES_MAX, 20.0), "an HTML page", 0),
        ((NULL_PACKET, 20.0), "no media for 15.0 s", 15),
        ((Quiet(8.0), NULL_PACKET, 30.0), "no media for 23.0 s", 23),
        ((NULL_PACKET, 1.0, UpstreamAnswerError(403, "Forbidden")), "answered 403", 1),
    ],
)
async def test_how_an_attempt_ends(steps: tuple[float | Item | Exception, ...], words: str, seconds: float) -> None:
    told = Told()
    one = line(told)
    took = await run(one, *steps)
    assert took == pytest.approx(seconds, abs=0.01)
    assert (one.failure is None) is (words == "")
    assert one.failure is None or words in one.failure.detail
    assert told.opened == 1


async def test_for_how_long_it_delivered() -> None:
    one = line(Told())
    await run(one, 2.0, NULL_PACKET, 7.0, NULL_PACKET, 1.0)
    assert one.flowed_seconds == pytest.approx(7, abs=0.01)
    assert line(Told()).flowed_seconds == 0


async def test_what_is_no_media_is_handed_on() -> None:
    told = Told()
    await run(line(told), NULL_PACKET, Losses(2, 1), Discontinuity(), NULL_PACKET)
    assert told.heeded == [Losses(2, 1), Discontinuity()]


async def test_the_wait_for_a_connection_is_part_of_the_patience() -> None:
    slots, told = Slots(limit=1), Told()
    one = line(told)
    async with asyncio.TaskGroup() as group:
        async with slots.hold(Slot.of(UPSTREAM, lambda: None), 1.0, str):
            waiting = group.create_task(one.run(reader(20.0), slots))
            await asyncio.sleep(4)
        await waiting
    assert told.waits == ["waiting for a free connection to host tv.test:80, limit 1"]
    assert one.failure is not None
    assert one.failure.detail == "upstream sent no media for 5.0 s"


async def test_a_refusal_just_after_a_pull_was_closed_is_asked_again_and_one_later_is_not() -> None:
    attempts = 0

    async def refuse_twice(_upstream: Upstream) -> AsyncGenerator[Item, None]:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise UpstreamAnswerError(403, "Forbidden")
        yield NULL_PACKET

    slots = Slots(limit=1)
    early, late = line(Told()), line(Told())
    async with slots.hold(Slot.of(UPSTREAM, lambda: None), 1.0, str):
        pass
    await early.run(refuse_twice, slots)
    assert early.failure is None
    assert attempts == 3
    attempts = 0
    await asyncio.sleep(10)
    await late.run(refuse_twice, slots)
    assert late.failure is not None
    assert attempts == 1


class Spring:
    """A tap: gives, at its times in seconds, what it has; and counts how often it is drawn from."""

    def __init__(self, *drops: tuple[float, bytes | None]) -> None:
        self.drops = list(drops)
        self.draws = 0
        self.began: float | None = None

    def draw(self, now: float) -> bytes | None:
        self.began = self.began if self.began is not None else now
        self.draws += 1
        if self.drops and now - self.began >= self.drops[0][0]:
            return self.drops.pop(0)[1]
        return b""


@pytest.mark.parametrize(
    ("drops", "after", "words", "seconds"),
    [
        ([(0.0, NULL_PACKET), (3.0, NULL_PACKET), (4.0, None)], [], "", 4),
        ([(1.0, None)], [], "ended before any media", 1),
        ([], [], "no media for 9.0 s", 9),
        ([(1.0, NULL_PACKET)], [], "no media for 15.0 s", 16),
        ([(1.0, b"<html>" + b"j" * JUNK_BYTES_MAX)], [], "an HTML page", 1),
        ([(1.0, NULL_PACKET), (2.0, None)], [UpstreamAnswerError(403, "Forbidden")], "answered 403", 2),
        ([(1.0, NULL_PACKET), (2.0, None)], [8.0, NULL_PACKET, 20.0], "no media for 15.0 s", 25),
    ],
)
async def test_how_an_attempt_ends_that_is_drawn_from_a_tap(
    drops: list[tuple[float, bytes | None]], after: list[float | Item | Exception], words: str, seconds: float
) -> None:
    spring = Spring(*drops)
    one = line(Told())
    took = await run(one, Tap(spring.draw), *after)
    assert took == pytest.approx(seconds, abs=2 * BEAT_SECONDS)
    assert (one.failure is None) is (words == "")
    assert one.failure is None or words in one.failure.detail
    assert spring.draws <= seconds / BEAT_SECONDS + 2


async def test_what_goes_wrong_with_drawn_bytes_is_the_lines_fault_and_nobody_elses() -> None:
    told = Told()

    def refuse(_line: Line, _chunk: bytes, _now: float) -> int:
        raise UpstreamAnswerError(409, "Loop")

    failing = line(told)
    failing._hooks = LineHooks(told.on_open, told.on_wait, refuse, told.heed)
    healthy = line(Told())
    async with asyncio.TaskGroup() as group:
        group.create_task(failing.run(reader(Tap(Spring((1.0, NULL_PACKET)).draw)), Slots()))
        group.create_task(
            healthy.run(reader(Tap(Spring((1.0, NULL_PACKET), (5.0, NULL_PACKET), (5.1, None)).draw)), Slots())
        )
    assert failing.failure is not None
    assert "answered 409" in failing.failure.detail
    assert healthy.failure is None
    assert healthy.flowed_seconds == pytest.approx(4, abs=2 * BEAT_SECONDS)
