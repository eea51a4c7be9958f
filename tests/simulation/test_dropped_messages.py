"""A broker whose queue is full drops in silence, with everybody connected: the next birth makes it right."""

import asyncio

import pytest

from controller import leader
from tests.simulation.broker import Letter, Mailbox
from tests.simulation.patches import exchanged
from tests.simulation.scenes import Scene, play


async def drop_the_next_start(scene: Scene) -> None:
    put = scene.broker._put

    def drop_once(mailbox: Mailbox, letter: Letter) -> None:
        if not scene.was_hit and letter.topic.endswith("/started"):
            scene.was_hit = True
        else:
            put(mailbox, letter)

    scene.broker._put = drop_once  # type: ignore[method-assign]


async def start_another(scene: Scene) -> None:
    scene.source.start("c", "http://origin/c.ts", on_demand=False, on_eof="reconnect")
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("births_seconds", "is_right"),
    [pytest.param(15.0, True, id="asked for births"), pytest.param(1e6, False, id="never asked")],
)
def test_only_sources_that_are_asked_again_tell_of_it(births_seconds: float, is_right: bool):
    with exchanged(leader, "BIRTHS_SECONDS", births_seconds):
        ending = play(start_another, drop_the_next_start)
    assert ending.was_hit
    assert (ending.violations == []) is is_right, ending.violations
