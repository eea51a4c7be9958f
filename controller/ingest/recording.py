"""Events reach the database, whatever it takes: the part of the room that must not lose anything.

A database that is away is waited for. A batch that the database (or a fault of ours) refuses is taken apart, and the
one event that cannot be recorded goes to quarantine, so that it can block nobody. Until :meth:`Recorder.record`
returns, nothing is acknowledged.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from controller.domain.events import Incoming, MessageRefused
from controller.domain.retry import Backoff
from controller.errors import DatabaseUnavailableError, LeaseLostError
from controller.ingest.inbox import Received
from controller.ingest.topics import HEAD_BYTES
from controller.store.record import Recorded

log: Final = structlog.get_logger()

ATTEMPTS_EACH: Final = 3
"""How often one event that is refused, though the database is there, is tried before quarantine."""

BACKOFF: Final = Backoff(0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event and the message it came in."""

    received: Received
    event: Incoming


class Recorder:
    """Records batches through ``write``: one transaction for all events that it is given, or an error and nothing."""

    def __init__(
        self, write: Callable[[Sequence[Incoming]], Awaitable[Recorded]], *, backoff: Backoff = BACKOFF
    ) -> None:
        self._write = write
        self._backoff = backoff
        self.failures = 0
        """Transactions that failed."""
        self.unrecordable = 0
        """Events that went to quarantine because they could not be recorded."""
        self.trouble = ""
        """Why the database took nothing when it was tried last; empty when it did."""
        self._delayed_at = 0.0
        """Since when there is trouble, on the clock of the event loop."""

    @property
    def delayed_seconds(self) -> float:
        """For how long events have waited for the database; zero while they do not."""
        return asyncio.get_running_loop().time() - self._delayed_at if self.trouble else 0.0

    async def record(self, arrivals: Sequence[Arrival]) -> list[Recorded]:
        """Record all events in their order, and return what became of them, portion by portion. Never gives up.

        Raises:
            LeaseLostError: it is another's to record what is left.
        """
        try:
            return [await self._write_when_possible([arrival.event for arrival in arrivals])]
        except _RefusedError:
            return [await self._record_alone(arrival) for arrival in arrivals]

    async def _record_alone(self, arrival: Arrival) -> Recorded:
        while True:
            for attempt in range(ATTEMPTS_EACH):
                if attempt:
                    await self._pause(attempt)
                with contextlib.suppress(_RefusedError):
                    return await self._write_when_possible([arrival.event])
            # What refuses this, too, is no fault of the event's. The message then waits, unacknowledged.
            with contextlib.suppress(_RefusedError):
                recorded = await self._write_when_possible([_unrecordable(arrival.received)])
                self.unrecordable += 1
                log.error("mqtt.message_unrecordable", topic=arrival.received.topic)
                return recorded
            await self._pause(ATTEMPTS_EACH)

    async def _write_when_possible(self, events: Sequence[Incoming]) -> Recorded:
        """Write, waiting for a database that is away; raise _RefusedError when it is there and refuses."""
        for attempt in itertools.count():
            try:
                recorded = await self._write(events)
            except DatabaseUnavailableError as error:
                self.failures += 1
                self._delayed_at = self._delayed_at if self.trouble else asyncio.get_running_loop().time()
                self.trouble = error.detail
                log.warning("mqtt.record_delayed", events=len(events), reason=error.detail)
            except LeaseLostError:
                # The next leader is sent the same messages: nothing of this batch was acknowledged.
                raise
            except Exception as error:  # the boundary: an event that trips a fault of ours must not stop the others
                self.failures += 1
                log.exception("mqtt.record_refused", events=len(events))
                raise _RefusedError from error
            else:
                self.trouble = ""
                return recorded
            await self._pause(attempt)
        raise AssertionError

    async def _pause(self, attempt: int) -> None:
        jitter = random.random()  # noqa: S311 - jitter, not a secret
        await asyncio.sleep(self._backoff.delay(attempt, jitter).total_seconds())


class _RefusedError(Exception):
    """Nothing was written, and the same again will hardly fare better."""


def _unrecordable(received: Received) -> MessageRefused:
    reason = "could not be recorded: see mqtt.record_refused in the controller's log of this time"
    return MessageRefused(received.topic, received.payload[:HEAD_BYTES], received.payload_bytes, reason)
