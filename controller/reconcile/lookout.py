"""What a controller does while another one leads: it looks, so that its API knows what runs, and touches nothing."""

import asyncio
from collections.abc import Callable

from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue

SPACING_SECONDS = 1.0
"""Between two looks, whatever rings: the leader looks more often, and what changed is in the database at once."""


class Lookout:
    """Lists the proxies when a bell rings, and with every resync."""

    def __init__(self, observer: Observer, queue: KeyQueue, *, changed: Callable[[], None]) -> None:
        self._observer = observer
        self._queue = queue
        self._changed = changed

    async def run(self) -> None:
        while True:
            await self._queue.take()
            await self._observer.observe()
            self._changed()
            await asyncio.sleep(SPACING_SECONDS)
