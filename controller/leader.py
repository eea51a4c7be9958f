"""What a controller is made of while it leads: built anew for every term, and thrown away with it.

Tied together here and not in ``app``, because it comes and goes while the process lives. Decides nothing.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from controller import figures
from controller.api.services import Figure
from controller.domain import silence
from controller.domain.events import Incoming, SilenceReported
from controller.domain.mass_end import WINDOW
from controller.domain.model import Cause, Key, Run, Source, SourceId, Stream, StreamId
from controller.domain.plan import Policy
from controller.domain.silence import Requests
from controller.domain.verdicts import Verdict
from controller.errors import DatabaseError
from controller.ingest.connection import Link
from controller.ingest.follower import StateFollower
from controller.ingest.outgoing import Outbox
from controller.ingest.subscriber import Pace, Subscriber
from controller.ingest.topics import Rules
from controller.reconcile.dispatcher import Dispatcher
from controller.reconcile.housekeeping import Housekeeper, Retention
from controller.reconcile.leadership import Pillar
from controller.reconcile.loop import Reconciler
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue
from controller.reconcile.startup import StartupGate
from controller.store import history, record, sources, streams
from controller.store.engine import Database
from controller.store.record import Recorded
from controller.store.term import Term

log: Final = structlog.get_logger()

BIRTHS_SECONDS: Final = 600.0
"""Every source is asked for a birth this often, whatever it said before, one after the other in the meantime: all at
once they would answer all at once."""


@dataclass(frozen=True, slots=True)
class Means:
    """What every term is given: the parts of the process that outlive it, and how it is to work."""

    database: Database
    observer: Observer
    queue: KeyQueue
    policy: Policy
    retention: Retention
    link: Link
    rules: Rules
    pace: Pace
    new_id: Callable[[], StreamId]
    tell: Callable[[Iterable[Key]], None]
    """These keys changed: whoever follows the events, here and elsewhere, wants to know."""


class Leader:
    """The loop, the dispatcher and MQTT, for one term."""

    def __init__(self, term: Term, means: Means) -> None:
        self.term = term
        self._means = means
        self._database = means.database
        self._queue = means.queue
        self.outbox = Outbox(time.monotonic)
        self._requests = Requests()
        self.dispatcher = Dispatcher(means.database, means.observer, term=term, ring=self._look_at)
        startup = StartupGate(
            time.monotonic,
            unlisted=lambda: means.observer.untried,
            has_caught_up=lambda: self.subscriber.has_caught_up,
        )
        self.reconciler = Reconciler(
            means.database,
            means.observer,
            means.queue,
            self.dispatcher,
            means.policy,
            term=term,
            changed=self._tell,
            ask_for_births=self._ask_every_source,
            startup=startup.reason,
            heard_seconds=lambda: self.subscriber.heard_seconds,
        )
        self.follower = _follower(means.database, self.outbox)
        self.subscriber = self._subscriber()
        self._housekeeper = Housekeeper(means.database, means.retention)

    def pillars(self) -> Mapping[str, Pillar]:
        """Return what runs for as long as the term, by name. Everything is looked at first."""
        self._queue.ring_all()
        return {
            "reconciler": self.reconciler.run,
            "dispatcher": self.dispatcher.run,
            "subscriber": self.subscriber.run,
            "follower": self.follower.run,
            "housekeeper": self._housekeeper.run,
            "births": self._keep_asking,
        }

    def wake(self, keys: Iterable[Key]) -> None:
        """These keys have changed in the database: send what waits, look at them, tell who follows."""
        self.dispatcher.wake()
        self._look_at(keys)

    def _wake_recorded(self, recorded: Recorded) -> None:
        self.wake(recorded.keys)
        if Verdict.HELD in recorded.verdicts:
            # Once the burst is over: only everything together shows how much is concerned.
            self._queue.ring_all(WINDOW.total_seconds())

    def hear(self, keys: Iterable[Key] | None) -> None:
        """As ``wake``, when somebody else has changed them and told everybody. None is every key."""
        self.dispatcher.wake()
        if keys is None:
            self._queue.ring_all()
        else:
            self._queue.ring(keys)
        self.follower.wake()

    def ask_for_births(self, source_ids: Iterable[SourceId]) -> None:
        for source_id in source_ids:
            self.outbox.ask_for_birth(source_id)

    async def _keep_asking(self) -> None:
        """Ask without a reason: a broker whose queue was full has dropped in silence what only a birth can tell."""
        while True:
            try:
                known = await self._database.read(sources.load_all)
            except DatabaseError as failed:
                log.warning("births.not_asked", error=str(failed))
                known = ()
            for source in known:
                await asyncio.sleep(BIRTHS_SECONDS / len(known))
                await self._note_silence(source)
                self.outbox.ask_for_birth(source.id)
            if not known:
                await asyncio.sleep(BIRTHS_SECONDS)

    async def _note_silence(self, source: Source) -> None:
        """Write down that a source has fallen silent: it is connected, and left the last requests unanswered."""
        unanswered = self._requests.unanswered(source.id)
        if not silence.is_due(source, unanswered):
            return
        report = SilenceReported(source.id, unanswered, source.birth_at, Cause("controller", "births"))
        try:
            recorded = await self.term.write(record.record_now, [report], new_id=self._means.new_id)
        except DatabaseError as failed:
            log.warning("births.silence_not_noted", source=source.id, error=str(failed))
        else:
            self._wake_recorded(recorded)
            self._queue.ring_all()

    async def _ask_every_source(self) -> None:
        self.ask_for_births([source.id for source in await self._database.read(sources.load_all)])

    def figures(self) -> Iterator[Figure]:
        """Yield the numbers of this term. Counters begin anew with each, as they do with each process."""
        yield from figures.of_loop(self.reconciler, self.dispatcher)
        yield from figures.of_queue(self._queue)
        yield from figures.of_ingest(self.subscriber)

    def _look_at(self, keys: Iterable[Key]) -> None:
        named = frozenset(keys)
        self._queue.ring(named)
        self._means.tell(named)
        self.follower.wake()

    def _tell(self) -> None:
        self._means.tell(())
        self.follower.wake()

    def _subscriber(self) -> Subscriber:
        means = self._means

        async def write(events: Sequence[Incoming]) -> Recorded:
            return await self.term.write(
                record.record_now,
                events,
                new_id=means.new_id,
                mass_end=means.policy.mass_end,
                live_last_max=means.policy.live_last_max,
            )

        async def read_states() -> Iterable[Stream]:
            desired = await self._database.read(streams.desired)
            return [run.stream for run in desired.runs]

        async def read_latest(keys: Collection[Key]) -> Iterable[Stream]:
            latest = await self._database.read(streams.load_latest, keys)
            return [run.stream for run in latest.values()]

        return Subscriber(
            self._means.link,
            boot_id=uuid.uuid4().hex,
            write=write,
            wake=self._wake_recorded,
            read_states=read_states,
            read_latest=read_latest,
            outbox=self.outbox,
            requests=self._requests,
            check=self.term.check,
            rules=self._means.rules,
            pace=self._means.pace,
        )


def _follower(database: Database, outbox: Outbox) -> StateFollower:
    async def read_last_id() -> int:
        return await database.read(history.last_id)

    async def read_after(after_id: int) -> Sequence[history.Entry]:
        return await database.read(history.follow, after_id=after_id)

    async def read_runs(stream_ids: Iterable[StreamId]) -> Sequence[Run]:
        return tuple((await database.read(streams.load_runs, tuple(stream_ids))).values())

    return StateFollower(outbox, read_last_id=read_last_id, read_after=read_after, read_runs=read_runs)
