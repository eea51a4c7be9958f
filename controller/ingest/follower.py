"""Every change of a stream's state, told over MQTT: it follows the history, whoever wrote it.

It starts with what is new from now on: the states of before are published anew with every connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from controller.domain.machine import Event
from controller.domain.model import Key, Run, StreamId
from controller.errors import DatabaseError
from controller.ingest.outgoing import Outbox
from controller.store.history import Entry

log: Final = structlog.get_logger()

LOOK_SECONDS: Final = 10.0
"""How often it looks without having been woken."""


class StateFollower:
    """Reads the history from where it stopped, and hands the newest state of every key to the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        read_last_id: Callable[[], Awaitable[int]],
        read_after: Callable[[int], Awaitable[Sequence[Entry]]],
        read_runs: Callable[[Iterable[StreamId]], Awaitable[Sequence[Run]]],
    ) -> None:
        self._outbox = outbox
        self._read_last_id = read_last_id
        self._read_after = read_after
        self._read_runs = read_runs
        self._bell = asyncio.Event()
        self._seen: int | None = None

    def wake(self) -> None:
        """Something was committed."""
        self._bell.set()

    async def run(self) -> None:
        while True:
            self._bell.clear()
            try:
                while await self.follow():
                    pass
            except DatabaseError as error:
                log.warning("mqtt.states_unread", reason=str(error))
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                continue

    async def follow(self) -> bool:
        """Publish what has happened since the last call; return whether there may be more."""
        if self._seen is None:
            self._seen = await self._read_last_id()
        entries = await self._read_after(self._seen)
        if not entries:
            return False
        runs = {run.stream.id: run for run in await self._read_runs({e.transition.stream_id for e in entries})}
        for run in _newest(runs.values()).values():
            self._outbox.put_state(run.stream)
        for entry in entries:
            stopped = runs.get(entry.transition.stream_id)
            if stopped is not None and entry.transition.event == Event.STOP:
                self._outbox.tell_stopped(stopped.stream)
        self._seen = entries[-1].id
        return True


def _newest(runs: Iterable[Run]) -> dict[Key, Run]:
    newest: dict[Key, Run] = {}
    for run in runs:
        known = newest.get(run.stream.key)
        if known is None or known.stream.epoch < run.stream.epoch:
            newest[run.stream.key] = run
    return newest
