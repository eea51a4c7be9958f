"""The state machine of a stream, its hooks, and the table of its moves.

Everything about which move is allowed lives in :class:`StreamMachine`; the table ``TRANSITIONS`` and the drawing in the
documentation are exported from it. What the machine does is a function of state, event, facts and placements alone, so
that :func:`advance` remembers it: an event costs 0.1 ms the first time and 1 us from then on.

Hooks are synchronous, do no I/O and append to the model's ``effects``; :func:`advance` returns them, and the store
writes them in the caller's transaction. ``StateMachine`` is used, never ``StateChart`` with its defaults: the latter
swallows an exception raised in a hook and enters the next state all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from statemachine import State as MachineState
from statemachine import StateMachine
from statemachine.exceptions import TransitionNotAllowed

from controller.domain.model import CommandKind, PlacementState, Reason, Run, State
from controller.errors import EventRefusedError


class Event(StrEnum):
    """What a run can be told. The names are those of the machine's transitions."""

    PLACED = "placed"
    SESSION_OBSERVED = "session_observed"
    SESSION_MISSING = "session_missing"
    SOURCE_LOST = "source_lost"
    FLOW_LOST = "flow_lost"
    SOURCE_BACK = "source_back"
    FLOW_BACK = "flow_back"
    SESSION_FINISHED = "session_finished"
    END = "end"
    STOP = "stop"
    SUPERSEDED = "superseded"
    STALL_TIMEOUT = "stall_timeout"
    EXPIRED = "expired"
    LOOP_DETECTED = "loop_detected"
    ALL_GONE = "all_gone"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards ask about beside the state."""

    session_is_observed: bool = False
    source_is_lost: bool = False
    finish_is_final: bool = False
    """Whether a session that finished by itself ends the run, by the stream's policy."""
    is_listed: bool = False
    """Whether a proxy lists a session of it all the same, when no placement is left: it is not closed then."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Effect: the run changed its state."""

    source: State
    target: State


@dataclass(frozen=True, slots=True)
class EndDecided:
    """Effect: write why the run ended."""


@dataclass(frozen=True, slots=True)
class PlacementStopping:
    """Effect: this placement is no longer wanted."""

    generation: int


@dataclass(frozen=True, slots=True)
class CommandQueued:
    """Effect: the proxy of this placement is to be told, after the commit."""

    kind: CommandKind
    generation: int


@dataclass(frozen=True, slots=True)
class EndConfirmed:
    """Effect: every placement was observed gone."""


Effect = Moved | EndDecided | PlacementStopping | CommandQueued | EndConfirmed


Held = tuple[int, bool]
"""A placement that is not gone, as the hooks see it: its generation, and whether it is stopping already."""


@dataclass(slots=True)
class Subject:
    """The model the machine works on: a run's state and placements, the facts about it, and the effects so far."""

    state: str = State.PENDING.value
    facts: Facts = field(default_factory=Facts)
    placements: tuple[Held, ...] = ()
    effects: list[Effect] = field(default_factory=list)


class StreamMachine(StateMachine):
    """One run of a key, from announced to confirmed gone."""

    pending = MachineState(initial=True, value=State.PENDING.value)
    starting = MachineState(value=State.STARTING.value)
    live = MachineState(value=State.LIVE.value)
    stalled = MachineState(value=State.STALLED.value)
    ended = MachineState(value=State.ENDED.value)
    closed = MachineState(final=True, value=State.CLOSED.value)

    placed = pending.to(starting) | starting.to(starting) | live.to(live) | stalled.to(stalled)
    session_observed = starting.to(live) | live.to(live) | stalled.to(stalled, cond="source_is_lost") | stalled.to(live)
    session_missing = starting.to(starting) | live.to(starting) | stalled.to(stalled)
    source_lost = pending.to(pending) | starting.to(stalled) | live.to(stalled) | stalled.to(stalled)
    flow_lost = pending.to(pending) | starting.to(stalled) | live.to(stalled) | stalled.to(stalled)
    source_back = (
        pending.to(pending)
        | starting.to(starting)
        | live.to(live)
        | stalled.to(live, cond="session_is_observed")
        | stalled.to(starting)
    )
    flow_back = (
        pending.to(pending)
        | starting.to(starting)
        | live.to(live)
        | stalled.to(stalled, cond="source_is_lost")
        | stalled.to(live, cond="session_is_observed")
        | stalled.to(starting)
    )
    session_finished = (
        starting.to(ended, cond="finish_is_final")
        | live.to(ended, cond="finish_is_final")
        | stalled.to(ended, cond="finish_is_final")
        | starting.to(starting)
        | live.to(starting)
        | stalled.to(stalled)
    )
    end = pending.to(ended) | starting.to(ended) | live.to(ended) | stalled.to(ended)
    stop = pending.to(ended) | starting.to(ended) | live.to(ended) | stalled.to(ended)
    superseded = pending.to(ended) | starting.to(ended) | live.to(ended) | stalled.to(ended)
    stall_timeout = stalled.to(ended)
    expired = pending.to(ended) | starting.to(ended) | live.to(ended) | stalled.to(ended)
    loop_detected = starting.to(ended) | live.to(ended) | stalled.to(ended)
    all_gone = ended.to(closed)

    def source_is_lost(self) -> bool:
        return self.subject.facts.source_is_lost

    def session_is_observed(self) -> bool:
        return self.subject.facts.session_is_observed

    def finish_is_final(self) -> bool:
        return self.subject.facts.finish_is_final

    def on_transition(self, source: MachineState, target: MachineState) -> None:
        if source.value != target.value:
            self.subject.effects.append(Moved(State(source.value), State(target.value)))

    def on_enter_ended(self) -> None:
        """The end is decided: every placement stops, and every proxy that holds one is told."""
        subject = self.subject
        subject.effects.append(EndDecided())
        for generation, is_stopping in subject.placements:
            if not is_stopping:
                subject.effects.append(PlacementStopping(generation))
            subject.effects.append(CommandQueued(CommandKind.STOP, generation))

    def on_enter_closed(self) -> None:
        self.subject.effects.append(EndConfirmed())

    @property
    def subject(self) -> Subject:
        """The model, with its type."""
        subject: Any = self.model
        assert isinstance(subject, Subject)
        return subject


ENDING_EVENTS: Mapping[Event, Reason] = MappingProxyType(
    {
        Event.END: Reason.SOURCE_ENDED,
        Event.STOP: Reason.OPERATOR_STOPPED,
        Event.SUPERSEDED: Reason.SUPERSEDED,
        Event.STALL_TIMEOUT: Reason.STALL_TIMEOUT,
        Event.EXPIRED: Reason.EXPIRED,
        Event.LOOP_DETECTED: Reason.LOOP_DETECTED,
        Event.SESSION_FINISHED: Reason.UPSTREAM_ENDED,
    }
)
"""The reason of an end, unless whoever sends the event knows a better one."""


def _export() -> Mapping[tuple[State, Event], tuple[State, ...]]:
    table: dict[tuple[State, Event], tuple[State, ...]] = {}
    for state in StreamMachine.states:
        for transition in state.transitions:
            for event in transition.events:
                move = (State(state.value), Event(event.id))
                table[move] = (*table.get(move, ()), State(transition.target.value))
    return MappingProxyType(table)


TRANSITIONS = _export()
"""(state, event) -> where it may lead, the guarded targets first. What is not in the table is refused."""


def is_allowed(state: State, event: Event) -> bool:
    return (state, event) in TRANSITIONS


def advance(run: Run, event: Event, facts: Facts) -> tuple[State, tuple[Effect, ...]]:
    """Send one event to a run; return the state it is in then and what is to be written.

    A run that ends with no placement left, and listed by nobody, is closed by the same call.

    Raises:
        EventRefusedError: the table has no such move.
    """
    held = tuple((p.generation, p.state is PlacementState.STOPPING) for p in run.placements)
    return _decide(run.stream.state, event, facts, held)


REMEMBERED_MAX = 4096


@lru_cache(REMEMBERED_MAX)
def _decide(state: State, event: Event, facts: Facts, placements: tuple[Held, ...]) -> tuple[State, tuple[Effect, ...]]:
    """Let a machine of its own decide. Building one costs ten times what an event does, remembering a thousandth."""
    subject = Subject(state.value, facts, placements)
    stream_machine = StreamMachine(model=subject, state_field="state")
    try:
        stream_machine.send(event.value)
    except TransitionNotAllowed as refused:
        raise EventRefusedError(state.value, event.value) from refused
    if subject.state == State.ENDED.value and not placements and not facts.is_listed:
        stream_machine.send(Event.ALL_GONE.value)
    return State(subject.state), tuple(subject.effects)
