"""Who gets which snapshot, how often one is made, and how many at once."""

import asyncio
from dataclasses import dataclass, field

import pytest

from proxy.serve.answers import RefusedError
from proxy.serve.thumb.jpeg import PictureError, ProgramMissingError
from proxy.serve.thumb.snapshots import FRESH_SECONDS, KEPT_SECONDS, RUNNING_MAX, WAITING_MAX, Snapshot, Snapshots
from proxy.session import Session
from tests.fakes import transport_packets as ts
from tests.fakes.sessions import build, running, spec

pytestmark = pytest.mark.looptime


@dataclass
class Studio:
    """Encodes by counting; ``answers`` are given in their order, the last one for ever."""

    answers: list[bytes | Exception] = field(default_factory=lambda: [b"picture"])
    media: list[bytes] = field(default_factory=list)
    running: int = 0
    running_most: int = 0

    async def encode(self, media: bytes) -> bytes:
        self.media.append(media)
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        try:
            await asyncio.sleep(0.2)
        finally:
            self.running -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def show(session: Session, number: int) -> None:
    """A new key picture has come."""
    feed = session._feeds.open()
    now = asyncio.get_running_loop().time()
    media = ts.picture(ts.KEY_H264, 2 * number) + ts.picture(ts.OTHER_H264, 2 * number + 1)
    feed.write(ts.tables(number) + media, now, 1000.0 + now)


def make(studio: Studio) -> Snapshots:
    return Snapshots(studio.encode, asyncio.get_running_loop().time)


async def refused(made: Snapshots, session: Session) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        await made.of(session)
    return raised.value


def still_session(key: str) -> Session:
    """A session whose task never runs: only its feed is of interest."""
    world = build()
    return Session("s", 1, 1, spec(key, "flow:a"), ports=world.registry._ports, on_change=lambda _session, _set: None)


async def test_all_who_ask_get_one_picture() -> None:
    studio, session = Studio(), still_session("cam")
    made = make(studio)
    show(session, 0)
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(made.of(session)) for _ in range(10)]
    assert {task.result().jpeg for task in asking} == {b"picture"}
    assert len(studio.media) == 1


async def test_it_is_made_anew_for_a_new_picture_and_not_at_once() -> None:
    studio, session = Studio([b"one", b"two"]), still_session("cam")
    made = make(studio)
    show(session, 0)
    first = await made.of(session)
    show(session, 1)
    assert await made.of(session) is first
    await asyncio.sleep(FRESH_SECONDS)
    second = await made.of(session)
    assert (first.jpeg, second.jpeg) == (b"one", b"two")
    assert (second.tag != first.tag, second.position > first.position, second.wall >= first.wall) == (True, True, True)


async def test_the_same_picture_is_not_made_twice() -> None:
    studio, session = Studio(), still_session("cam")
    made = make(studio)
    show(session, 0)
    first = await made.of(session)
    await asyncio.sleep(FRESH_SECONDS)
    assert await made.of(session) is first
    assert len(studio.media) == 1


async def test_few_are_made_at_once_and_few_may_wait() -> None:
    studio = Studio()
    made = make(studio)
    sessions = [still_session(f"cam-{number}") for number in range(WAITING_MAX + 1)]
    for session in sessions:
        show(session, 0)
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(made.of(session)) for session in sessions[:-1]]
        await asyncio.sleep(0.01)
        refusal = await refused(made, sessions[-1])
    assert (refusal.status, "Retry-After" in refusal.headers) == (503, True)
    assert studio.running_most == RUNNING_MAX
    assert all(isinstance(task.result(), Snapshot) for task in asking)
    assert (await made.of(sessions[-1])).jpeg == b"picture"


async def test_who_waits_goes_on_when_the_first_goes_away() -> None:
    studio, session = Studio(), still_session("cam")
    made = make(studio)
    show(session, 0)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(made.of(session))
        await asyncio.sleep(0.1)
        second = group.create_task(made.of(session))
        await asyncio.sleep(0.01)
        first.cancel()
    assert second.result().jpeg == b"picture"
    assert len(studio.media) == 2


async def test_coding_that_needs_more_pictures_gets_them() -> None:
    studio, session = Studio([b"", b"picture"]), still_session("cam")
    show(session, 0)
    show(session, 1)
    assert (await make(studio).of(session)).jpeg == b"picture"
    alone, followed = studio.media
    assert followed.startswith(alone)


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        pytest.param(PictureError("it is broken"), 502, "broken", id="it cannot be decoded"),
        pytest.param(b"", 502, "no picture", id="nothing comes of it"),
        pytest.param(ProgramMissingError("ffmpeg"), 501, "apt-get install ffmpeg", id="the program is missing"),
    ],
)
async def test_a_failure_is_told_and_tried_again_after_a_while(
    failure: bytes | Exception, status: int, words: str
) -> None:
    again = 2 if failure == b"" else 1
    studio, session = Studio([failure] * again + [b"picture"]), still_session("cam")
    made = make(studio)
    show(session, 0)
    refusal = await refused(made, session)
    assert (refusal.status, words in refusal.detail) == (status, True)
    assert await refused(made, session) is refusal
    assert len(studio.media) == again
    await asyncio.sleep(FRESH_SECONDS)
    assert (await made.of(session)).jpeg == b"picture"


async def test_what_is_idle_is_not_opened() -> None:
    async with running(build()) as world:
        world.ensure(spec("cam", "flow:a"))
        session = world.registry.get("cam")
        assert session is not None
        assert (await refused(make(Studio()), session)).status == 404
        await asyncio.sleep(1)
        assert world.upstreams.open_now == 0


async def test_a_stream_without_a_picture_may_have_one_later() -> None:
    session = still_session("cam")
    session._feeds.open()
    made = make(Studio())
    refusal = await refused(made, session)
    assert (refusal.status, "Retry-After" in refusal.headers) == (503, True)
    show(session, 0)
    await asyncio.sleep(FRESH_SECONDS)
    assert (await made.of(session)).jpeg == b"picture"


async def test_what_nobody_asks_for_is_forgotten() -> None:
    session, over = still_session("cam"), still_session("over")
    made = make(Studio())
    for one in (session, over):
        show(one, 0)
        await made.of(one)
    now = asyncio.get_running_loop().time()
    over.stop()
    made.sweep(now)
    assert set(made._entries) == {session}
    made.sweep(now + KEPT_SECONDS - 1)
    assert set(made._entries) == {session}
    made.sweep(now + KEPT_SECONDS + 1)
    assert made._entries == {}
