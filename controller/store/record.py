"""Take a batch of events into the database in one transaction: one reading, one decision each, one writing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from controller.domain.admission import Books, Intake
from controller.domain.events import (
    BirthReported,
    Incoming,
    MessageRefused,
    SilenceReported,
    SourceReported,
    StatsReported,
    StopRequested,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.mass_end import WINDOW, MassEnd
from controller.domain.model import Key, SourceId, StreamId
from controller.domain.verdicts import Verdict
from controller.store import blocks, dialects, floors, history, processes, quarantine, sources, stats, streams


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch."""

    verdicts: tuple[Verdict, ...]
    """One per event, in their order."""
    stream_ids: frozenset[StreamId]
    """The runs that changed."""
    keys: frozenset[Key]
    """The keys that need a look."""
    has_commands: bool
    """Whether the dispatcher has something to send."""
    rebirths: frozenset[SourceId]
    """Sources to be asked for a birth."""


def record(
    session: Session,
    events: Sequence[Incoming],
    *,
    now: datetime,
    new_id: Callable[[], StreamId],
    mass_end: MassEnd | None = None,
    live_last_max: timedelta | None = None,
) -> Recorded:
    """Decide on events in their order and save everything that they change. The number of statements is fixed.

    ``mass_end`` says how many ends of one source at once are held; None: never.
    """
    books = _read_books(session, events, now)
    if mass_end is not None:
        books = replace(books, ends=_count_ends(session, events, now))
    intake = Intake(books, now, new_id, mass_end, live_last_max)
    verdicts = tuple(intake.admit(event) for event in events)
    changes = intake.changes()
    streams.save(session, changes, now=now)
    floors.save(session, intake.floors, now=now)
    sources.save(session, intake.sources.values())
    processes.save(session, intake.processes.changed, now=now)
    stats.note(session, intake.stats, now=now)
    blocks.note_refused(session, intake.blocked, now=now)
    quarantine.add(session, intake.refusals, now=now)
    return Recorded(
        verdicts=verdicts,
        stream_ids=frozenset(change.run.stream.id for change in changes),
        keys=frozenset(change.run.stream.key for change in changes),
        has_commands=any(change.commands for change in changes),
        rebirths=frozenset(intake.rebirths),
    )


def record_now(
    session: Session,
    events: Sequence[Incoming],
    *,
    new_id: Callable[[], StreamId],
    mass_end: MassEnd | None = None,
    live_last_max: timedelta | None = None,
) -> Recorded:
    """Record events at the database's time."""
    now = dialects.db_now(session)
    return record(session, events, now=now, new_id=new_id, mass_end=mass_end, live_last_max=live_last_max)


def _count_ends(session: Session, events: Sequence[Incoming], now: datetime) -> Mapping[SourceId, int]:
    """Count the ends of every source in the batch, with those of the second before it."""
    ends = Counter(event.source_id for event in events if isinstance(event, StreamEndAnnounced))
    if not ends:
        return ends
    causes = {f"source:{source_id}": source_id for source_id in ends}
    for actor, count in history.count_ends(session, since=now - WINDOW, actors=causes).items():
        ends[causes[actor]] += count
    return ends


def _read_books(session: Session, events: Sequence[Incoming], now: datetime) -> Books:
    names = _Names(events)
    stopped = streams.load_runs(session, names.stream_ids)
    keys = names.keys | {run.stream.key for run in stopped.values()}
    owned = streams.load_by_source(session, names.owners)
    runs = streams.load_latest(session, keys) | {run.stream.key: run for run in owned.values()}
    return Books(
        runs=runs,
        floors=floors.load(session, names.floors),
        sources=sources.load(session, names.owners | names.announcers),
        blocks=blocks.load(session, names.announced, now=now),
        processes=processes.load(session, names.processes),
    )


class _Names:
    """What a batch speaks of."""

    def __init__(self, events: Iterable[Incoming]) -> None:
        self.keys: set[Key] = set()
        self.announced: set[Key] = set()
        self.stream_ids: set[StreamId] = set()
        self.owners: set[SourceId] = set()
        """Sources whose status or birth is in the batch."""
        self.announcers: set[SourceId] = set()
        """Sources that announce a stream and say which of their processes does."""
        self.floors: set[tuple[SourceId, Key]] = set()
        self.processes: set[tuple[SourceId, str]] = set()
        """Whose status or birth is in the batch."""
        for event in events:
            self._add(event)

    def _add(self, event: Incoming) -> None:
        match event:
            case StreamAnnounced() | StreamEndAnnounced():
                self.keys.add(event.key)
                if isinstance(event, StreamAnnounced):
                    self.announced.add(event.key)
                    if event.boot_id:
                        self.announcers.add(event.source_id)
                self.floors.add((event.source_id, event.key))
            case StatsReported():
                self.keys.add(event.key)
            case StopRequested():
                self.stream_ids.add(event.stream_id)
            case SourceReported() | BirthReported() | SilenceReported():
                self._add_source(event)
            case MessageRefused():
                pass

    def _add_source(self, event: SourceReported | BirthReported | SilenceReported) -> None:
        self.owners.add(event.source_id)
        if not isinstance(event, SilenceReported):
            self.processes.add((event.source_id, event.boot_id))
        if isinstance(event, BirthReported):
            for announced in event.streams:
                self._add(announced)
