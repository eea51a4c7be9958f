"""Serving is tested with real sockets, on the loop that serves in production and on the plain one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
STORY_SECONDS = 60


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a coroutine on the loop that serves in production, and on the plain one."""

    def runs(story: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(STORY_SECONDS):
                await story()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())

    return runs
