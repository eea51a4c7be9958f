"""How a run changes: a draft that folds decisions into one :class:`Change`.

A draft takes a run, is told what was decided (by ``admission``, by ``plan``, by an operator), asks the machine for
every move, folds the effects into new frozen values, and yields one ``Change`` that the store writes in one
transaction. A draft lives inside one transaction and is seen by nobody else.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, assert_never

from controller.domain import machine, mass_end
from controller.domain.events import StreamAnnounced
from controller.domain.machine import Event, Facts
from controller.domain.model import (
    Block,
    BootId,
    Cause,
    Change,
    Command,
    CommandKind,
    Condition,
    ConditionStatus,
    ConditionType,
    Placement,
    PlacementState,
    ProxyId,
    Reason,
    Run,
    State,
    Stream,
    StreamId,
    Transition,
)


class Draft:
    """One run on its way to its next saved form."""

    def __init__(self, run: Run, cause: Cause, now: datetime, *, is_new: bool = False) -> None:
        self._before = run
        self._cause = cause
        self._now = now
        self._is_new = is_new
        self._kept = run.stream
        self._staged: dict[str, Any] = {}
        """Fields that differ from ``_kept``: gathered, since a new value of a stream costs as much as all else here."""
        self._placements = {placement.generation: placement for placement in run.placements}
        self._run: Run | None = run
        self._transitions: list[Transition] = []
        self._commands: list[Command] = []
        self._block: Block | None = None

    @property
    def stream(self) -> Stream:
        """The stream as it stands with everything decided so far."""
        if self._staged:
            self._kept, self._staged = _revise(self._kept, self._staged), {}
        return self._kept

    @property
    def run(self) -> Run:
        """The run as it stands with everything decided so far."""
        if self._run is None or self._run.stream is not self.stream:
            live = tuple(p for p in self._placements.values() if p.state is not PlacementState.GONE)
            self._run = Run(self.stream, live)
        return self._run

    def _set(self, **fields: Any) -> None:
        self._staged |= fields

    def _get(self, field: str) -> Any:
        """Return a field as it stands, without a new value of the stream."""
        return self._staged[field] if field in self._staged else getattr(self._kept, field)

    @property
    def _conditions(self) -> tuple[Condition, ...]:
        found: tuple[Condition, ...] = self._get("conditions")
        return found

    def _keep(self, placement: Placement) -> None:
        self._placements[placement.generation] = placement
        self._run = None

    def because(self, cause: Cause) -> "Draft":
        """Attribute what follows to another cause."""
        self._cause = cause
        return self

    def change(self) -> Change | None:
        """Return what is to be written, or None when nothing differs from the run that the draft began with."""
        before = {placement.generation: placement for placement in self._before.placements}
        placements = tuple(p for p in self._placements.values() if before.get(p.generation) != p)
        untouched = self.stream == self._before.stream and not (placements or self._transitions or self._commands)
        if untouched and not self._is_new:
            return None
        return Change(self.run, self._is_new, placements, tuple(self._transitions), tuple(self._commands), self._block)

    def send(
        self, event: Event, facts: Facts | None = None, *, reason: Reason | None = None, detail: str = ""
    ) -> State:
        """Send an event to the machine and fold in what it decides.

        Raises:
            EventRefusedError: the table has no such move.
        """
        _, effects = machine.advance(self.run, event, facts or self.facts())
        why = reason or machine.ENDING_EVENTS.get(event)
        for effect in effects:
            self._fold(effect, event, why, detail)
        state: State = self._get("state")
        return state

    def place(self, proxy_id: ProxyId, boot_id: BootId, *, generation: int, why: str) -> None:
        """Wish that a proxy carries the run, at a generation above every earlier one of the key."""
        assert generation > self.stream.generation
        placement = Placement(
            stream_id=self.stream.id,
            generation=generation,
            proxy_id=proxy_id,
            boot_id=boot_id,
            spec_generation=self.stream.spec_generation,
            state=PlacementState.REQUESTED,
            requested_at=self._now,
        )
        self._keep(placement)
        self._set(generation=generation, retry_at=None)
        self._queue(CommandKind.ENSURE, placement, why)
        self.send(Event.PLACED, detail=why)

    def mark_observed(self, generation: int) -> None:
        placement = self._placements[generation]
        self._keep(replace(placement, state=PlacementState.OBSERVED, observed_at=self._now))

    def mark_stopping(self, generation: int) -> None:
        """No longer want a placement, without a command: its proxy is told when that is due."""
        placement = self._placements[generation]
        if placement.state is not PlacementState.STOPPING:
            self._keep(replace(placement, state=PlacementState.STOPPING, stopping_at=self._now))

    def mark_gone(self, generation: int) -> None:
        self._keep(replace(self._placements[generation], state=PlacementState.GONE, gone_at=self._now))

    def mark_replied(self, generation: int, sequence: int, *, to_stop: bool) -> None:
        """Note that the proxy has answered a command: a list from before that proves nothing any more."""
        placement = self._placements[generation]
        sequence = max(sequence, placement.reply_sequence or 0)
        self._keep(replace(placement, reply_sequence=sequence, stop_replied=placement.stop_replied or to_stop))

    def ratchet_generation(self, generation: int) -> None:
        """Go on above a generation that a proxy knows and the database does not."""
        if generation > self.stream.generation:
            self._set(generation=generation)

    def command(self, kind: CommandKind, generation: int, why: str) -> None:
        """Queue a command about a placement for the dispatcher."""
        self._queue(kind, self._placements[generation], why)

    def update(self, announced: StreamAnnounced) -> None:
        """Take over what a source says about a run that goes on."""
        stream = self.stream
        changed = announced.spec != stream.spec
        self._set(
            spec=announced.spec,
            spec_generation=stream.spec_generation + (1 if changed else 0),
            seq=max(announced.order.seq, stream.seq) if announced.order else stream.seq,
            source_boot_id=announced.boot_id or stream.source_boot_id,
            labels=announced.labels,
            stall_timeout_seconds=announced.stall_timeout_seconds,
            expires_at=expiry(announced, self._now),
            births_missed=0,
        )

    def block(self, until: datetime) -> None:
        """Let the key of this run, which has ended, not start again before a time."""
        stream = self.stream
        assert stream.reason is not None
        self._block = Block(stream.key, stream.id, stream.reason, stream.reason_detail, self._now, until)

    def set_births_missed(self, count: int) -> None:
        self._set(births_missed=count)

    def set_seq(self, seq: int) -> None:
        self._set(seq=max(seq, self._get("seq")))

    def count_failure(self, retry_after: timedelta) -> None:
        """A session failed by itself: the next placement waits."""
        self._set(failures=self.stream.failures + 1, retry_at=self._now + retry_after)

    def forget_failures(self) -> None:
        self._set(failures=0)

    def set_condition(self, kind: ConditionType, status: ConditionStatus, reason: str, message: str = "") -> None:
        """Set a condition; ``since`` moves only when the status does."""
        old = next((condition for condition in self._conditions if condition.type is kind), None)
        since = old.since if old is not None and old.status is status else self._now
        new = Condition(kind, status, reason, message, since, self._get("spec_generation"))
        if new != old:
            others = tuple(condition for condition in self._conditions if condition.type is not kind)
            ordered = tuple(sorted((*others, new), key=lambda condition: condition.type))
            self._set(conditions=ordered)

    def clear_condition(self, kind: ConditionType) -> None:
        kept = tuple(condition for condition in self._conditions if condition.type is not kind)
        if len(kept) < len(self._conditions):
            self._set(conditions=kept)

    def facts(self, *, is_listed: bool = False) -> Facts:
        """What the machine's guards ask about, as the run stands."""
        observed = any(p.state is PlacementState.OBSERVED for p in self._placements.values())
        return Facts(observed, self.stream.is_source_lost, is_listed=is_listed)

    def is_told_to_stop(self, generation: int) -> bool:
        """Whether a stop of this placement is queued already."""
        return any(c.kind is CommandKind.STOP and c.generation == generation for c in self._commands)

    def _queue(self, kind: CommandKind, placement: Placement, why: str) -> None:
        stream = self.stream
        if kind is CommandKind.STOP and self.is_told_to_stop(placement.generation):
            return
        self._commands.append(
            Command(
                kind=kind,
                proxy_id=placement.proxy_id,
                boot_id=placement.boot_id,
                stream_id=stream.id,
                key=stream.key,
                epoch=stream.epoch,
                generation=placement.generation,
                spec=stream.spec if kind is CommandKind.ENSURE else None,
                why=why,
            )
        )

    def _fold(self, effect: machine.Effect, event: Event, reason: Reason | None, detail: str) -> None:
        match effect:
            case machine.Moved():
                self._move(effect, event, reason, detail)
            case machine.EndDecided():
                assert reason is not None
                self.clear_condition(ConditionType.END_HELD)
                self._set(
                    reason=reason,
                    reason_detail=detail,
                    outcome=reason.outcome,
                    ended_at=self._now,
                    retry_at=None,
                )
                self.set_condition(
                    ConditionType.SESSIONS_STOPPED,
                    ConditionStatus.FALSE,
                    "Stopping",
                    "waiting for the proxies",
                )
            case machine.PlacementStopping():
                self.mark_stopping(effect.generation)
            case machine.CommandQueued():
                self._queue(effect.kind, self._placements[effect.generation], f"{event.value}: {reason or detail}")
            case machine.EndConfirmed():
                self._set(closed_at=self._now)
                self.clear_condition(ConditionType.PLACED)
                self.clear_condition(ConditionType.FLOWING)
                self.set_condition(ConditionType.SESSIONS_STOPPED, ConditionStatus.TRUE, "ObservedGone")
            case _:
                assert_never(effect)

    def _move(self, moved: machine.Moved, event: Event, reason: Reason | None, detail: str) -> None:
        event_name = Event.ALL_GONE if moved.target is State.CLOSED else event
        ending = moved.target is State.ENDED
        self._transitions.append(
            Transition(
                stream_id=self._kept.id,
                key=self._kept.key,
                epoch=self._kept.epoch,
                at=self._now,
                event=event_name.value,
                from_state=moved.source,
                to_state=moved.target,
                reason=reason if ending else None,
                detail=detail,
                cause=self._cause,
            )
        )
        self._set(state=moved.target, state_since=self._now)

    def hold_end(self, reason: Reason, detail: str) -> None:
        """Its source says that it has ended, as of too many at once: remember that, and do not believe it yet."""
        self._note(mass_end.HELD, reason.value + (f": {detail}" if detail else ""))
        self.set_condition(ConditionType.END_HELD, ConditionStatus.TRUE, mass_end.to_word(reason), detail)

    def cancel_end(self) -> None:
        """Its source has said that it goes on: a held end is void."""
        if self.stream.condition(ConditionType.END_HELD) is not None:
            self._note(mass_end.CANCELLED, "announced again")
            self.clear_condition(ConditionType.END_HELD)

    def carry_out_end(self, why: str) -> None:
        """End the run for the reason that was held."""
        held = self.stream.condition(ConditionType.END_HELD)
        assert held is not None
        detail = f"{held.message}; {why}" if held.message else why
        self.send(Event.END, reason=mass_end.to_reason(held.reason), detail=detail)

    def _note(self, event: str, detail: str) -> None:
        """Write a row of history that moves nothing."""
        self._write_row(event, self.stream.state, detail)

    def record_birth(self) -> None:
        """Write the first row of the run's history."""
        self._write_row("announced", None, "")

    def _write_row(self, event: str, from_state: State | None, detail: str) -> None:
        stream = self.stream
        self._transitions.append(
            Transition(
                stream_id=stream.id,
                key=stream.key,
                epoch=stream.epoch,
                at=self._now,
                event=event,
                from_state=from_state,
                to_state=stream.state,
                reason=None,
                detail=detail,
                cause=self._cause,
            )
        )


def begin(announced: StreamAnnounced, stream_id: StreamId, *, epoch: int, generation: int, now: datetime) -> Draft:
    """Start a draft of a new run. ``generation`` is the highest ever used for its key; placements rise above it."""
    order = announced.order
    stream = Stream(
        id=stream_id,
        key=announced.key,
        source_id=announced.source_id,
        epoch=epoch,
        announced_epoch=order.epoch if order else None,
        seq=order.seq if order else 0,
        source_boot_id=announced.boot_id or "",
        state=State.PENDING,
        spec=announced.spec,
        created_at=now,
        state_since=now,
        generation=generation,
        labels=announced.labels,
        stall_timeout_seconds=announced.stall_timeout_seconds,
        expires_at=expiry(announced, now),
    )
    draft = Draft(Run(stream), announced.cause, now, is_new=True)
    draft.record_birth()
    draft.set_condition(ConditionType.PLACED, ConditionStatus.FALSE, "Waiting", "not placed on a proxy yet")
    return draft


_FIELDS: Final = tuple(field.name for field in fields(Stream))
_read_fields: Final = attrgetter(*_FIELDS)


def _revise(stream: Stream, changes: Mapping[str, Any]) -> Stream:
    """As ``replace``, which finds out anew what fields a stream has, and takes twice as long."""
    values: dict[str, Any] = dict(zip(_FIELDS, _read_fields(stream), strict=True))
    return Stream(**{**values, **changes})


def expiry(announced: StreamAnnounced, now: datetime) -> datetime | None:
    """When a run ends unless it is announced again; None for never."""
    if announced.expires_in_seconds is None:
        return None
    return now + timedelta(seconds=announced.expires_in_seconds)
