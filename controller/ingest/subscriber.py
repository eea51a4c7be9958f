"""The loop of this room: receive, decode, record in batches, acknowledge after the commit, wake; and publish.

Runs for as long as this controller leads. It ends by being cancelled, and by nothing that a source, the broker or the
database may do. Everything it tells the rest of the controller goes through the callables that it was given.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Never

import structlog

from controller.domain.events import Incoming, MessageRefused
from controller.domain.model import Key, Stream
from controller.domain.retry import Backoff
from controller.domain.silence import Requests
from controller.domain.verdicts import Verdict
from controller.errors import BrokerLostError, DatabaseError
from controller.ingest import outgoing, topics
from controller.ingest.connection import INFLIGHT_MAX_OLD, Connection, Link, connect
from controller.ingest.inbox import Received
from controller.ingest.outgoing import Outbox
from controller.ingest.recording import Arrival, Recorder
from controller.ingest.topics import Rules
from controller.store.record import Recorded

log: Final = structlog.get_logger()

PATTERN: Final = f"{topics.PREFIX}/#"
"""Everything, so that a message with a bad key is seen, refused and explained."""

STABLE_SECONDS: Final = 10.0
"""A connection that held for this long was a good one: the next failure is the first again."""

QUIET_SECONDS: Final = 1.0
"""A broker that has sent nothing for this long has sent all that waited there."""

REFUSALS_LOGGED_MAX: Final = 10
REFUSALS_LOGGED_SECONDS: Final = 10.0
"""Of a flood of unreadable messages, so many are logged in so long. All of them are in quarantine."""


RECONNECT: Final = Backoff(0.5, 30.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How messages are gathered, and how long the broker is waited for."""

    batch_max: int = 400
    batch_seconds: float = 0.01
    reconnect: Backoff = RECONNECT
    farewell_seconds: float = 2.0


DEFAULT_PACE: Final = Pace()


@dataclass(slots=True)
class Counts:
    """What has happened since the process started, for metrics."""

    received: int = 0
    discarded: int = 0
    """Messages of QoS 0 that came faster than they could be recorded."""
    batches: int = 0
    """Transactions that recorded events."""
    refused: int = 0
    """Messages that went to quarantine."""
    connections: int = 0
    published: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    """Events by what became of them."""


class Subscriber:
    """Hears the sources, and speaks to them.

    ``write`` records events in one transaction; ``wake`` is told what that changed, after the commit. With every
    connection the retained states at the broker are put right: ``read_states`` returns the streams that are not CLOSED,
    which it may have forgotten, and ``read_latest`` the newest run of keys whose state it still shows. ``check`` raises
    LeaseLostError when this controller leads no more, which ends everything here.
    """

    def __init__(
        self,
        link: Link,
        *,
        boot_id: str,
        write: Callable[[Sequence[Incoming]], Awaitable[Recorded]],
        wake: Callable[[Recorded], None],
        read_states: Callable[[], Awaitable[Iterable[Stream]]],
        read_latest: Callable[[Collection[Key]], Awaitable[Iterable[Stream]]],
        outbox: Outbox,
        requests: Requests,
        check: Callable[[], None] = lambda: None,
        rules: Rules = topics.DEFAULT_RULES,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self._link = replace(link, payload_bytes_max=rules.bytes_max)
        self._boot_id = boot_id
        self._wake = wake
        self._read_states = read_states
        self._read_latest = read_latest
        self._outbox = outbox
        self._requests = requests
        self._check = check
        self._rules = rules
        self._pace = pace
        self._batch_max = min(pace.batch_max, INFLIGHT_MAX_OLD) if link.is_old else pace.batch_max
        self._refusals = _RefusalLog()
        self.recorder = Recorder(write)
        self.counts = Counts()
        self.is_connected = False
        self._connected_at = float("-inf")
        """When the connection was made, on the clock of the event loop."""
        self._heard_at = float("-inf")
        """When it was made, or the last message recorded."""

    @property
    def has_caught_up(self) -> bool:
        """Whether what waited at the broker has been recorded, as far as can be told from its silence."""
        return self.is_connected and asyncio.get_running_loop().time() - self._heard_at >= QUIET_SECONDS

    @property
    def heard_seconds(self) -> float:
        """For how long sources could be heard, without a break until now. Zero when they cannot."""
        return asyncio.get_running_loop().time() - self._connected_at if self.is_connected else 0.0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            began = clock()
            lost = await self._stay_connected()
            failures = 0 if clock() - began >= STABLE_SECONDS else failures
            delay = self._pace.reconnect.delay(failures, random.random()).total_seconds()  # noqa: S311 - jitter
            failures += 1
            log.warning("mqtt.disconnected", broker=lost.address, reason=lost.detail, retry_seconds=round(delay, 2))
            await asyncio.sleep(delay)

    async def _stay_connected(self) -> BrokerLostError:
        """Connect and work; return why that came to an end."""
        try:
            return await self._work()
        except BrokerLostError as lost:
            return lost

    async def _work(self) -> BrokerLostError:
        # To connect is to throw out whoever is connected under our client id: the leader.
        self._check()
        will = outgoing.status(is_online=False, boot_id=self._boot_id)
        async with connect(self._link, will=will, farewell_seconds=self._pace.farewell_seconds) as connection:
            self._outbox.begin()
            self._requests.begin()
            await connection.subscribe(PATTERN)
            if not connection.has_session:
                # What was published until now went nowhere. Sources announce again when we turn online, and a broker
                # that lost everything tells them of no change: for them we have been there all along.
                await connection.publish(will)
            await connection.publish(outgoing.status(is_online=True, boot_id=self._boot_id))
            with self._connected(connection):
                return await self._serve(connection)

    async def _serve(self, connection: Connection) -> BrokerLostError:
        """Receive and publish until the connection is lost.

        The loss is a result, not a failure: in Python 3.11 a TaskGroup that fails in the moment in which it is
        cancelled raises only its failures, and the cancellation is gone.
        """
        async with asyncio.TaskGroup() as group:
            halves = [
                group.create_task(_until_lost(self._receive(connection)), name="mqtt receive"),
                group.create_task(_until_lost(self._publish(connection)), name="mqtt publish"),
            ]
            done, left = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            for half in left:
                half.cancel()
        return done.pop().result()

    @contextlib.contextmanager
    def _connected(self, connection: Connection) -> Iterator[None]:
        self.counts.connections += 1
        self._connected_at = self._heard_at = asyncio.get_running_loop().time()
        self.is_connected = True
        log.info("mqtt.connected", broker=self._link.address, had_session=connection.has_session)
        try:
            yield
        finally:
            self.is_connected = False

    # In

    async def _receive(self, connection: Connection) -> Never:
        while True:
            batch = await connection.receive(self._batch_max, self._pace.batch_seconds)
            self.counts.received += len(batch)
            self.counts.discarded += connection.take_discarded()
            arrivals = [Arrival(received, event) for received in batch if (event := self._decode(received)) is not None]
            outcomes = await self.recorder.record(arrivals) if arrivals else []
            self._heard_at = asyncio.get_running_loop().time()
            connection.acknowledge(batch)
            for recorded in outcomes:
                self._tell(recorded)
            await self._review(_retained_states(batch))

    def _decode(self, received: Received) -> Incoming | None:
        event = topics.decode(
            received.topic,
            received.payload,
            is_retained=received.is_retained,
            payload_bytes=received.payload_bytes,
            rules=self._rules,
        )
        if isinstance(event, MessageRefused):
            self._refusals.note(event)
        return None if event is None else self._requests.hear(event)

    def _tell(self, recorded: Recorded) -> None:
        self.counts.batches += 1
        self.counts.verdicts.update(recorded.verdicts)
        self.counts.refused += recorded.verdicts.count(Verdict.REFUSED)
        for source_id in sorted(recorded.rebirths):
            self._outbox.ask_for_birth(source_id)
        self._wake(recorded)

    # Out

    async def _publish(self, connection: Connection) -> Never:
        await self._renew_states()
        while True:
            entry = await self._outbox.take()
            self._check()
            try:
                await connection.publish(entry.message)
            except BaseException:
                self._outbox.put_back(entry)
                raise
            self.counts.published += 1
            if (source_id := outgoing.asked(entry)) is not None:
                self._requests.count(source_id)

    async def _renew_states(self) -> None:
        try:
            for stream in await self._read_states():
                self._outbox.put_state(stream)
        except DatabaseError as error:
            log.warning("mqtt.states_unread", reason=error.detail)

    async def _review(self, retained: Mapping[Key, bytes]) -> None:
        """Correct the states that the broker still shows: their news may have been lost with an earlier process."""
        if not retained:
            return
        try:
            latest = {stream.key: stream for stream in await self._read_latest(retained.keys())}
        except DatabaseError as error:
            log.warning("mqtt.states_unread", reason=error.detail)
            return
        for key, shown in retained.items():
            if key not in latest:
                self._outbox.forget(key)
            elif outgoing.state(latest[key]).payload != shown:
                self._outbox.put_state(latest[key])


def _retained_states(batch: Iterable[Received]) -> dict[Key, bytes]:
    retained = ((topics.key_of_state(received.topic), received) for received in batch if received.is_retained)
    return {key: received.payload for key, received in retained if key is not None}


class _RefusalLog:
    """Logs unreadable messages, but no flood of them."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._logged = 0
        self._held_back = 0

    def note(self, refused: MessageRefused) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._since >= REFUSALS_LOGGED_SECONDS:
            self._since, self._logged = now, 0
        if self._logged >= REFUSALS_LOGGED_MAX:
            self._held_back += 1
            return
        log.warning(
            "mqtt.message_refused",
            topic=refused.topic,
            bytes=refused.payload_bytes,
            reason=refused.reason,
            not_logged_before=self._held_back,
        )
        self._logged += 1
        self._held_back = 0


async def _until_lost(half: Coroutine[Any, Any, Never]) -> BrokerLostError:
    try:
        await half
    except BrokerLostError as lost:
        return lost
