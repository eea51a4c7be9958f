"""The pump: one task that hands every viewer what its ring has got since the last time.

A flush costs one system call a viewer. Blocks of some 50 ms are what makes it cheap; a viewer that has just come is
not made to wait for the next flush. The pump forgets nobody by itself: whoever was admitted is dismissed.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from proxy.core.feed import Feed
from proxy.serve import tcp
from proxy.serve.client import Client, TooSlowError
from proxy.serve.crowd import Crowd

FLUSH_SECONDS: Final = 0.05
SWEEP_SECONDS: Final = 1.0
AT_ONCE_CLIENTS: Final = 128
"""So many viewers are flushed in one go, as soon as their feed has grown."""
TURN_CLIENTS: Final = 64
"""Of more than those, after so many the loop has its turn: whoever comes needs several until the first byte."""
CAUSES: Final = ("too_slow", "gone", "vanished", "failed")
"""Why a viewer is dropped: by the slow-viewer rule, its connection broke, its machine answers no more, our fault."""
GOODBYE_SECONDS: Final = 1.0
GOODBYE_STEP_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


class Pump:
    """See the module. ``dropped`` counts whom it has dropped, by cause."""

    def __init__(self, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._flush_seconds = flush_seconds
        self._crowds: dict[Feed, Crowd] = {}
        self._due: dict[Crowd, None] = {}
        """Those whose turn it is. Small ones are not put here: they are flushed at once."""
        self._alarm: asyncio.Future[None] | None = None
        self._next_look: asyncio.Handle | None = None
        self._next_look_at = math.inf
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
            while self._due:
                await self._flush_in_turns(self._due.popitem()[0])
            if now() - self._swept_at >= SWEEP_SECONDS:
                self._swept_at = now()
                self._sweep(self._swept_at)
            await self._rest(self._swept_at + SWEEP_SECONDS)

    def admit(self, client: Client) -> None:
        """Send to this client from now on, what there is at once."""
        crowd = self._crowds.get(client.feed)
        if crowd is None:
            crowd = self._crowds[client.feed] = Crowd(client.feed, self._flush)
            client.feed.bell = partial(self._notice, crowd)
        crowd.clients[client] = None
        self._flush(client, asyncio.get_running_loop().time())
        if not client.has_all:
            crowd.note_behind()
            self._look_at(crowd.due_at(self._flush_seconds))

    def dismiss(self, client: Client) -> None:
        """Send no more to it. Again, if need be."""
        crowd = self._crowds.get(client.feed)
        if crowd is None or client not in crowd.clients:
            return
        del crowd.clients[client]
        client.steady = False
        if not crowd.clients:
            del self._crowds[client.feed]
            client.feed.bell = None

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

    def _notice(self, crowd: Crowd, now: float) -> None:
        """A feed has grown: flush its crowd, now or when enough has come."""
        due_at = crowd.due_at(self._flush_seconds)
        if now < due_at:
            self._look_at(due_at)
        elif len(crowd.clients) <= AT_ONCE_CLIENTS:
            crowd.flush(crowd.begin(now), now)
            self._expect(crowd)
        else:
            self._due[crowd] = None
            self._wake()

    def _expect(self, crowd: Crowd) -> None:
        """Come back to it when somebody could not take all: its feed may not grow any more."""
        if crowd.has_more:
            self._look_at(crowd.due_at(self._flush_seconds))

    def _look_at(self, when: float) -> None:
        if when < self._next_look_at:
            if self._next_look is not None:
                self._next_look.cancel()
            self._next_look_at = when
            self._next_look = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        """Find the crowds for which no bell has been rung in time."""
        self._next_look, self._next_look_at = None, math.inf
        now = asyncio.get_running_loop().time()
        for crowd in self._crowds.values():
            if crowd.has_more and now >= crowd.due_at(self._flush_seconds):
                self._due[crowd] = None
            else:
                self._expect(crowd)
        if self._due:
            self._wake()

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    async def _rest(self, until: float) -> None:
        """Wait until it is somebody's turn, but not for longer."""
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_at(until, self._wake)
        try:
            await self._alarm
        finally:
            timer.cancel()
            self._alarm = None

    async def _flush_in_turns(self, crowd: Crowd) -> None:
        now = asyncio.get_running_loop().time()
        clients = crowd.begin(now)
        for first in range(0, len(clients), TURN_CLIENTS):
            if first:
                await asyncio.sleep(0)
            crowd.flush(clients[first : first + TURN_CLIENTS], now)
        self._expect(crowd)

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
        for client in [client for crowd in self._crowds.values() for client in crowd.clients]:
            if client.sock is not None and not client.transport.is_closing() and tcp.has_vanished(client.sock):
                self._drop(client, "vanished")
        for sweeper in self._sweepers:
            sweeper(now)
