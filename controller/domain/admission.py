"""Which announcements count: order, ownership, repeats, floors, births and wills.

An :class:`Intake` takes a batch of events against what the books say, in order of arrival, and collects everything one
transaction has to write. It never raises for what a source may send: every event gets a verdict, and what does not
count changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import assert_never

from controller.domain import births, lifecycle, loops, processes, silence
from controller.domain.events import (
    BirthReported,
    Incoming,
    MessageRefused,
    Order,
    SilenceReported,
    SourceReported,
    StatsReported,
    StopRequested,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.mass_end import MassEnd
from controller.domain.model import (
    ANONYMOUS,
    Block,
    Cause,
    Change,
    ConditionStatus,
    ConditionType,
    Floor,
    Key,
    Run,
    Source,
    SourceId,
    State,
    Stream,
    StreamId,
)
from controller.domain.processes import NOTHING, Known, Processes
from controller.domain.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Books:
    """What the database knew before the batch, about the keys and sources in it."""

    runs: Mapping[Key, Run] = field(default_factory=lambda: MappingProxyType({}))
    """The newest run of every key in the batch, and every active run of every source with a status or birth in it."""
    floors: Mapping[tuple[SourceId, Key], Floor] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[SourceId, Source] = field(default_factory=lambda: MappingProxyType({}))
    ends: Mapping[SourceId, int] = field(default_factory=lambda: MappingProxyType({}))
    """Ends of each source in this batch and the second before it; only where mass ends are held."""
    blocks: Mapping[Key, Block] = field(default_factory=lambda: MappingProxyType({}))
    """Of the announced keys: those that may not start again now."""
    processes: Known = NOTHING
    """Of the sources with a status or birth in the batch."""


class Intake:
    """One batch of events on its way into the database."""

    def __init__(
        self,
        books: Books,
        now: datetime,
        new_id: Callable[[], StreamId],
        mass_end: MassEnd | None = None,
        live_last_max: timedelta | None = None,
    ) -> None:
        self._mass_end = mass_end
        self._books = books
        self._now = now
        self._new_id = new_id
        self._live_last_max = live_last_max
        self._drafts: dict[StreamId, Draft] = {}
        self._latest: dict[Key, StreamId] = {}
        self.floors: dict[tuple[SourceId, Key], Floor] = {}
        """Floors to be written."""
        self.sources: dict[SourceId, Source] = {}
        """Sources to be written."""
        self.processes = Processes(books.processes)
        self.stats: dict[StreamId, tuple[tuple[str, float], ...]] = {}
        """The newest figures per stream, to be written."""
        self.blocked: dict[Key, tuple[SourceId, int]] = {}
        """Announcements that blocks refused: of which source the last, and how many."""
        self.refusals: list[MessageRefused] = []
        """What goes to quarantine."""
        self.rebirths: set[SourceId] = set()
        """Sources to be asked for a birth."""
        for key, run in books.runs.items():
            self._drafts[run.stream.id] = Draft(run, _NOBODY, now)
            self._latest[key] = run.stream.id

    def admit(self, event: Incoming) -> Verdict:
        """Take one event; return what became of it."""
        match event:
            case StreamAnnounced():
                return self._hear_announced(event)
            case StreamEndAnnounced():
                return self._end(event)
            case StopRequested():
                return self._stop(event)
            case SourceReported():
                return self._report(event)
            case BirthReported():
                return self._birth(event)
            case SilenceReported():
                return self._note_silence(event)
            case StatsReported():
                return self._note_stats(event)
            case MessageRefused():
                self.refusals.append(event)
                return Verdict.REFUSED
            case _:
                assert_never(event)

    def changes(self) -> tuple[Change, ...]:
        """Everything the batch changed. Old runs come before the runs that supersede them."""
        changes = (draft.change() for draft in self._drafts.values())
        return tuple(change for change in changes if change is not None)

    # Streams

    def _hear_announced(self, event: StreamAnnounced) -> Verdict:
        verdict = self._announce(event, is_birth=False)
        if verdict in _BELIEVED:
            self._doubt(self._source(event.source_id), event.boot_id)
        return verdict

    def _doubt(self, source: Source | None, boot_id: str | None) -> None:
        """What another process says than the one that is known may come late, from one that has died: a birth tells."""
        if source is not None and _is_other_boot(source.boot_id, boot_id):
            self.rebirths.add(source.id)

    def _announce(self, event: StreamAnnounced, *, is_birth: bool) -> Verdict:
        draft = self._draft(event.key)
        if event.order is not None and self._is_floored(event, event.order):
            return self._announce_below_floor(event, event.order, draft)
        if draft is None:
            return self._start(event, None)
        stream = draft.run.stream
        if stream.source_id != event.source_id:
            return self._start(event, draft) if stream.state is State.CLOSED else Verdict.NOT_OWNER
        if event.order is not None:
            return self._announce_ordered(event, event.order, draft, is_birth=is_birth)
        return self._announce_unordered(event, draft)

    def _announce_below_floor(self, event: StreamAnnounced, order: Order, draft: Draft | None) -> Verdict:
        stream = draft.run.stream if draft else None
        owns = stream is not None and stream.source_id == event.source_id
        if draft is not None and stream is not None and owns and _is_outdated(stream, order):
            # The end of this epoch came first. Its start still proves that the epoch before is over.
            draft.because(event.cause).send(Event.SUPERSEDED, detail=f"epoch {order.epoch} was announced")
            return Verdict.ALREADY_ENDED
        floor = self._floor(event.source_id, event.key)
        if floor is not None and _is_other_boot(floor.boot_id, event.boot_id):
            return self._regress(event, draft if owns else None, floor.epoch)
        return Verdict.ALREADY_ENDED

    def _announce_ordered(self, event: StreamAnnounced, order: Order, draft: Draft, *, is_birth: bool) -> Verdict:
        stream = draft.run.stream
        if stream.announced_epoch is None or order.epoch > stream.announced_epoch:
            return self._start(event, draft)
        if order.epoch < stream.announced_epoch or not stream.state.is_active:
            if _is_other_boot(stream.source_boot_id, event.boot_id):
                return self._regress(event, draft, stream.announced_epoch)
            return Verdict.STALE if order.epoch < stream.announced_epoch else Verdict.ALREADY_ENDED
        if is_birth:
            self._confirm(draft, event)
        if order.seq <= stream.seq and not (is_birth and order.seq == stream.seq):
            return Verdict.REPEATED if order.seq == stream.seq else Verdict.STALE
        self._confirm(draft, event)
        return self._refresh(event, draft)

    def _announce_unordered(self, event: StreamAnnounced, draft: Draft) -> Verdict:
        stream = draft.run.stream
        if stream.state.is_active:
            if stream.announced_epoch is not None:
                return Verdict.UNNUMBERED
            self._confirm(draft, event)
            return self._refresh(event, draft)
        if event.is_retained and event.spec == stream.spec:
            return Verdict.RETAINED
        return self._start(event, draft)

    def _start(self, event: StreamAnnounced, previous: Draft | None) -> Verdict:
        if event.key in self._books.blocks:
            self.blocked[event.key] = (event.source_id, self.blocked.get(event.key, (ANONYMOUS, 0))[1] + 1)
            return Verdict.BLOCKED
        generation = previous.run.stream.generation if previous is not None else 0
        epoch = previous.run.stream.epoch + 1 if previous is not None else 1
        if event.order is not None:
            epoch = max(event.order.epoch, epoch if previous else 0)
        if previous is not None and previous.run.stream.state.is_active:
            previous.because(event.cause).send(Event.SUPERSEDED, detail=f"epoch {epoch} was announced")
        stream_id = self._new_id()
        draft = lifecycle.begin(event, stream_id, epoch=epoch, generation=generation, now=self._now)
        if event.source_id != ANONYMOUS:
            draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Announced")
        self._drafts[stream_id] = draft
        self._latest[event.key] = stream_id
        return Verdict.STARTED

    def _refresh(self, event: StreamAnnounced, draft: Draft) -> Verdict:
        spec_before = draft.run.stream.spec
        draft.because(event.cause).update(event)
        draft.clear_condition(ConditionType.EPOCH_REGRESSED)
        return Verdict.REPEATED if event.spec == spec_before else Verdict.UPDATED

    def _confirm(self, draft: Draft, event: StreamAnnounced) -> None:
        """Its source has just said that the run goes on."""
        draft.because(event.cause).set_births_missed(0)
        draft.cancel_end()
        if draft.run.stream.is_source_lost:
            draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Announced")
            draft.send(Event.SOURCE_BACK, detail="announced again")

    def _regress(self, event: StreamAnnounced, draft: Draft | None, known_epoch: int) -> Verdict:
        assert event.order is not None
        self.rebirths.add(event.source_id)
        if draft is not None:
            draft.because(event.cause).set_condition(
                ConditionType.EPOCH_REGRESSED,
                ConditionStatus.TRUE,
                "NewBootBelowKnownEpoch",
                f"a new process of its source announced epoch {event.order.epoch}; {known_epoch} is known already",
            )
        return Verdict.REGRESSED

    def _end(self, event: StreamEndAnnounced) -> Verdict:
        draft = self._draft(event.key)
        owned = draft is not None and draft.run.stream.source_id == event.source_id
        if event.order is not None:
            return self._end_ordered(event, event.order, draft if owned else None)
        if draft is None or not owned:
            return Verdict.UNKNOWN if draft is None else Verdict.NOT_OWNER
        stream = draft.run.stream
        if not stream.state.is_active:
            return Verdict.ALREADY_ENDED
        if stream.announced_epoch is not None:
            return Verdict.UNNUMBERED
        return self._carry_out(event, draft.because(event.cause))

    def _carry_out(self, event: StreamEndAnnounced, draft: Draft) -> Verdict:
        """End it; or, of very many at once, hold the end until it is said again."""
        stream = draft.run.stream
        if stream.condition(ConditionType.END_HELD) is not None:
            draft.carry_out_end("its source said so again")
        elif self._mass_end is not None and self._books.ends.get(event.source_id, 0) >= self._mass_end.ends_min:
            draft.hold_end(event.reason, event.detail)
            return Verdict.HELD
        else:
            draft.send(Event.END, reason=event.reason, detail=event.detail)
        return Verdict.ENDED

    def _end_ordered(self, event: StreamEndAnnounced, order: Order, draft: Draft | None) -> Verdict:
        stream = draft.run.stream if draft else None
        if draft is None or stream is None or stream.announced_epoch is None or order.epoch > stream.announced_epoch:
            raised = self._raise_floor(event, order)
            return Verdict.EARLY_END if raised else Verdict.ALREADY_ENDED
        if order.epoch < stream.announced_epoch:
            return Verdict.STALE
        if not stream.state.is_active:
            return Verdict.ALREADY_ENDED
        if order.seq <= stream.seq:
            return Verdict.STALE
        verdict = self._carry_out(event, draft.because(event.cause))
        draft.set_seq(order.seq)
        if verdict is Verdict.ENDED:
            self._raise_floor(event, order)
        return verdict

    def _stop(self, event: StopRequested) -> Verdict:
        draft = self._drafts.get(event.stream_id)
        if draft is None:
            return Verdict.UNKNOWN
        if not draft.run.stream.state.is_active:
            return Verdict.ALREADY_ENDED
        draft.because(event.cause).send(Event.STOP, detail=event.detail)
        return Verdict.ENDED

    # Sources

    def _report(self, event: SourceReported) -> Verdict:
        known = self._source(event.source_id)
        if not event.is_online and (known is None or known.boot_id != event.boot_id):
            return Verdict.STALE
        self.processes.hear_status(event)
        self._lift_silence(known, event.cause)
        self.sources[event.source_id] = processes.describe(known, event, self._now)
        for draft in self._owned(event.source_id):
            draft.because(event.cause)
            if not event.is_online:
                draft.set_condition(
                    ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "LastWill", "its source is gone"
                )
                draft.send(Event.SOURCE_LOST, detail="the source's Last Will")
            elif draft.run.stream.is_source_lost and draft.run.stream.source_boot_id in ("", event.boot_id):
                draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Online")
                draft.send(Event.SOURCE_BACK, detail="the source is online again")
        return Verdict.NOTED

    def _birth(self, event: BirthReported) -> Verdict:
        known = self._source(event.source_id)
        proves_nothing = self.processes.hear_birth(event, known)
        self._doubt(known, event.boot_id)
        if proves_nothing is not None:
            return proves_nothing
        self._lift_silence(known, event.cause)
        counts_misses = known is None or event.seq is not None or not births.is_close(known, event, self._now)
        self.sources[event.source_id] = processes.describe(known, event, self._now)
        for announced in event.streams:
            self._announce(announced, is_birth=True)
        listed = {announced.key for announced in event.streams}
        if counts_misses:
            is_next = births.is_next(known, event)
            for draft in self._owned(event.source_id):
                if draft.run.stream.key not in listed and births.miss(draft.because(event.cause), is_next=is_next):
                    # Nobody else would ask for the birth that decides, and a source need not publish one by itself.
                    self.rebirths.add(event.source_id)
        return Verdict.NOTED

    def _note_silence(self, event: SilenceReported) -> Verdict:
        known = self._source(event.source_id)
        if known is None or not silence.holds(known, event):
            return Verdict.STALE
        self.sources[known.id] = replace(known, silent_since=self._now)
        for draft in self._owned(known.id):
            silence.fall(draft.because(event.cause), event)
        return Verdict.NOTED

    def _lift_silence(self, source: Source | None, cause: Cause) -> None:
        if source is not None and source.silent_since is not None:
            for draft in self._owned(source.id):
                silence.lift(draft.because(cause))

    def _note_stats(self, event: StatsReported) -> Verdict:
        draft = self._draft(event.key)
        if draft is None or not draft.run.stream.state.is_active:
            return Verdict.UNKNOWN
        if draft.run.stream.source_id != event.source_id:
            return Verdict.NOT_OWNER
        self.stats[draft.run.stream.id] = event.values
        live_last = dict(event.values).get(loops.LIVE_LAST)
        if live_last is not None and self._live_last_max is not None:
            loops.hear(draft, live_last, self._now, self._live_last_max)
        return Verdict.NOTED

    # The books, with what this batch has added

    def _draft(self, key: Key) -> Draft | None:
        stream_id = self._latest.get(key)
        return None if stream_id is None else self._drafts[stream_id]

    def _owned(self, source_id: SourceId) -> list[Draft]:
        owned = (self._drafts[stream_id] for stream_id in self._latest.values())
        return [d for d in owned if d.run.stream.source_id == source_id and d.run.stream.state.is_active]

    def _floor(self, source_id: SourceId, key: Key) -> Floor | None:
        return self.floors.get((source_id, key)) or self._books.floors.get((source_id, key))

    def _is_floored(self, event: StreamAnnounced, order: Order) -> bool:
        floor = self._floor(event.source_id, event.key)
        return floor is not None and order.epoch <= floor.epoch

    def _raise_floor(self, event: StreamEndAnnounced, order: Order) -> bool:
        floor = self._floor(event.source_id, event.key)
        if floor is not None and floor.epoch >= order.epoch:
            return False
        self.floors[event.source_id, event.key] = Floor(order.epoch, event.boot_id or "")
        return True

    def _source(self, source_id: SourceId) -> Source | None:
        return self.sources.get(source_id) or self._books.sources.get(source_id)


_BELIEVED = frozenset({Verdict.STARTED, Verdict.UPDATED})

_NOBODY = Cause("nobody", "not yet attributed")


def _is_outdated(stream: Stream, order: Order) -> bool:
    numbered = stream.announced_epoch is not None
    return stream.state.is_active and numbered and order.epoch > (stream.announced_epoch or 0)


def _is_other_boot(known: str, said: str | None) -> bool:
    return bool(known) and bool(said) and known != said
