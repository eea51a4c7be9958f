"""The pump: one task that hands every viewer what its ring has got since the last time.

A flush costs one system call a viewer. Blocks of some 50 ms are what makes it cheap; a viewer that has just come is
not made to wait for the next flush. The pump forgets nobody by itself: whoever was admitted is dismissed.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from proxy.serve import tcp
from proxy.serve.client import Client, TooSlowError

FLUSH_SECONDS: Final = 0.05
SWEEP_SECONDS: Final = 1.0
PAUSE_SECONDS_MIN: Final = 0.005
"""However long a flush took, everybody else on the loop gets a turn."""
TURN_CLIENTS: Final = 128
"""After so many viewers the loop gets a turn in the middle of a flush."""
CAUSES: Final = ("too_slow", "gone", "vanished", "failed")
"""Why a viewer is dropped: by the slow-viewer rule, its connection broke, its machine answers no more, our fault."""
GOODBYE_SECONDS: Final = 1.0
GOODBYE_STEP_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


class Pump:
    """See the module. ``dropped`` counts whom it has dropped, by cause."""

    def __init__(self, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._flush_seconds = flush_seconds
        self._clients: dict[Client, None] = {}
        self._busy = asyncio.Event()
        self._sweepers: list[Callable[[float], None]] = []
        self._swept_at = 0.0
        self.dropped: dict[str, int] = dict.fromkeys(CAUSES, 0)

    def sweep_with(self, sweeper: Callable[[float], None]) -> None:
        """Call it about once a second with the loop's time."""
        self._sweepers.append(sweeper)

    async def run(self) -> None:
        """Flush for ever."""
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            await self._flush_all()
            if began - self._swept_at >= SWEEP_SECONDS:
                self._swept_at = began
                self._sweep(began)
            if self._clients:
                await asyncio.sleep(max(PAUSE_SECONDS_MIN, self._flush_seconds - (now() - began)))
            else:
                await self._rest()

    def admit(self, client: Client) -> None:
        """Send to this client from now on, what there is at once."""
        self._clients[client] = None
        self._busy.set()
        self._flush(client, asyncio.get_running_loop().time())

    def dismiss(self, client: Client) -> None:
        """Send no more to it. Again, if need be."""
        self._clients.pop(client, None)

    async def farewell(self, client: Client) -> None:
        """Give a dismissed client what is left for it, or reset it when it does not take that in time."""
        now = asyncio.get_running_loop().time
        deadline = now() + GOODBYE_SECONDS
        while not client.transport.is_closing():
            if not client.has_all:
                self._flush(client, now())
            if client.transport.is_closing() or client.is_served:
                return
            if now() >= deadline:
                tcp.reset(client.transport)
                return
            await asyncio.sleep(GOODBYE_STEP_SECONDS)

    async def _rest(self) -> None:
        """Nobody is here: wait for the first to come, or the next sweep."""
        self._busy.clear()
        try:
            async with asyncio.timeout(SWEEP_SECONDS):
                await self._busy.wait()
        except TimeoutError:
            return

    async def _flush_all(self) -> None:
        now = asyncio.get_running_loop().time()
        for number, client in enumerate(tuple(self._clients), start=1):
            if client in self._clients:  # others had a turn in between
                self._flush(client, now)
            if not number % TURN_CLIENTS:
                await asyncio.sleep(0)

    def _flush(self, client: Client, now: float) -> None:
        try:
            client.flush(now)
        except TooSlowError:
            self._drop(client, "too_slow")
        except OSError:
            self._drop(client, "gone")
        except Exception:  # the boundary: one viewer's fault must not reach the others
            log.exception("viewer.failed", viewer=client.viewer.viewer_id)
            self._drop(client, "failed")

    def _drop(self, client: Client, cause: str) -> None:
        """End its connection; aiohttp then cancels its handler, which makes it leave."""
        self.dismiss(client)
        self.dropped[cause] += 1
        tcp.reset(client.transport)
        log.info("viewer.dropped", viewer=client.viewer.viewer_id, cause=cause, moves=client.viewer.moves)

    def _sweep(self, now: float) -> None:
        for client in tuple(self._clients):
            if client.sock is not None and not client.transport.is_closing() and tcp.has_vanished(client.sock):
                self._drop(client, "vanished")
        for sweeper in self._sweepers:
            sweeper(now)
