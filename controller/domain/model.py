"""The nouns of the controller: frozen values that every other room passes around.

Nothing here decides; nothing here knows a database row or a wire type. Times are aware datetimes in UTC, handed in.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

StreamId = NewType("StreamId", str)
Key = NewType("Key", str)
SourceId = NewType("SourceId", str)
ProxyId = NewType("ProxyId", str)
BootId = NewType("BootId", str)

ANONYMOUS = SourceId("anonymous")
"""The source of streams announced by the short topics and by REST without a source."""


class State(StrEnum):
    """Where one run of a key stands. The table of moves is in ``machine``."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    LIVE = "LIVE"
    STALLED = "STALLED"
    ENDED = "ENDED"
    CLOSED = "CLOSED"

    @property
    def is_active(self) -> bool:
        """Whether the run is still meant to play."""
        return self is not State.ENDED and self is not State.CLOSED


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a run ended."""

    SOURCE_ENDED = "source_ended"
    OPERATOR_STOPPED = "operator_stopped"
    SUPERSEDED = "superseded"
    SOURCE_LOST = "source_lost"
    STALL_TIMEOUT = "stall_timeout"
    START_FAILED = "start_failed"
    LOOP_DETECTED = "loop_detected"
    UPSTREAM_ENDED = "upstream_ended"
    EXPIRED = "expired"

    @property
    def outcome(self) -> Outcome:
        return Outcome.COMPLETED if self in _COMPLETED else Outcome.FAILED


_COMPLETED = frozenset(
    {Reason.SOURCE_ENDED, Reason.OPERATOR_STOPPED, Reason.SUPERSEDED, Reason.UPSTREAM_ENDED, Reason.EXPIRED}
)


class Output(StrEnum):
    TS = "ts"
    HLS = "hls"


class OnEof(StrEnum):
    RECONNECT = "reconnect"
    END = "end"


class Prefer(StrEnum):
    """Which upstream is wanted while one further down the list delivers."""

    FIRST = "first"
    STAY = "stay"


RETURN_AFTER_SECONDS = 60.0


class LoopRule(StrEnum):
    """Whether the same pictures again and again are a fault."""

    WATCH = "watch"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A URL that a proxy pulls, and the request headers it needs (names and values, credentials among them)."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    connections_max: int | None = None
    """So many pulls its host gets from one proxy at once; None: as the proxy's setting says."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a session of this stream has to run. Any change of it raises the stream's ``spec_generation``."""

    upstreams: tuple[Upstream, ...]
    outputs: tuple[Output, ...] = (Output.TS, Output.HLS)
    on_demand: bool = True
    on_eof: OnEof = OnEof.RECONNECT
    viewers_max: int | None = None
    """So many may watch at once; None for as many as come."""
    prefer: Prefer = Prefer.FIRST
    return_after_seconds: float = RETURN_AFTER_SECONDS
    """How long after it failed a better upstream is tried again, while another one delivers."""
    loop: LoopRule = LoopRule.WATCH


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """What may oscillate beside the state. A condition that is absent is unknown."""

    PLACED = "Placed"
    FLOWING = "Flowing"
    SOURCE_ONLINE = "SourceOnline"
    SESSIONS_STOPPED = "SessionsStopped"
    EPOCH_REGRESSED = "EpochRegressed"
    PAUSED = "Paused"
    END_HELD = "EndHeld"
    LOOPING = "Looping"

    @property
    def is_alarm(self) -> bool:
        """Whether True is what people should know of; of the others it is what is not True."""
        return self in (
            ConditionType.EPOCH_REGRESSED,
            ConditionType.PAUSED,
            ConditionType.END_HELD,
            ConditionType.LOOPING,
        )


@dataclass(frozen=True, slots=True)
class Condition:
    type: ConditionType
    status: ConditionStatus
    reason: str
    """One CamelCase word."""
    message: str
    since: datetime
    """When the status last changed."""
    observed_generation: int
    """The ``spec_generation`` it speaks of."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who made something happen, and by what: kept with every transition."""

    actor: str
    """``source:ID``, ``operator:NAME`` or ``reconciler``."""
    detail: str
    """The topic, the request, or the rule of the planner."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One run of a key."""

    id: StreamId
    key: Key
    source_id: SourceId
    epoch: int
    """Rises with every run of the key; with ``generation`` it fences every command."""
    announced_epoch: int | None
    """The epoch its source gave it; None when the source does not number its messages and arrival is the order."""
    seq: int
    """The highest of its source's messages about this run that was taken; 0 without numbers."""
    source_boot_id: str
    """The process of the source that announced it last; empty when it did not say."""
    state: State
    spec: StreamSpec
    created_at: datetime
    state_since: datetime
    spec_generation: int = 1
    generation: int = 0
    """The highest placement generation ever used for this key."""
    labels: tuple[tuple[str, str], ...] = ()
    stall_timeout_seconds: float | None = None
    expires_at: datetime | None = None
    reason: Reason | None = None
    reason_detail: str = ""
    outcome: Outcome | None = None
    conditions: tuple[Condition, ...] = ()
    births_missed: int = 0
    """Births of its source, in a row, that did not list it."""
    failures: int = 0
    """Sessions of this run, in a row, that failed by themselves."""
    retry_at: datetime | None = None
    """No new placement before this time."""
    ended_at: datetime | None = None
    closed_at: datetime | None = None
    version: int = 0
    """Raised by every save; a save of an older version is refused."""

    def condition(self, kind: ConditionType) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type is kind), None)

    @property
    def is_source_lost(self) -> bool:
        condition = self.condition(ConditionType.SOURCE_ONLINE)
        return condition is not None and condition.status is ConditionStatus.FALSE


class PlacementState(StrEnum):
    REQUESTED = "requested"
    OBSERVED = "observed"
    STOPPING = "stopping"
    GONE = "gone"

    @property
    def is_wanted(self) -> bool:
        return self is PlacementState.REQUESTED or self is PlacementState.OBSERVED


@dataclass(frozen=True, slots=True)
class Placement:
    """The wish that one proxy carries one stream, and what became of it."""

    stream_id: StreamId
    generation: int
    proxy_id: ProxyId
    boot_id: BootId
    """The proxy process it was made for. Another process of that proxy cannot run it."""
    spec_generation: int
    state: PlacementState
    requested_at: datetime
    observed_at: datetime | None = None
    stopping_at: datetime | None = None
    gone_at: datetime | None = None
    reply_sequence: int | None = None
    """The proxy's sequence in the last reply about this placement; an older list proves nothing about it."""
    stop_replied: bool = False
    """Whether the proxy has answered a stop of this placement."""


@dataclass(frozen=True, slots=True)
class Run:
    """A stream with its placements that are not gone: what is decided upon, loaded and saved as one."""

    stream: Stream
    placements: tuple[Placement, ...] = ()

    def placement(self, generation: int) -> Placement | None:
        return next((p for p in self.placements if p.generation == generation), None)

    @property
    def wanted(self) -> tuple[Placement, ...]:
        return tuple(p for p in self.placements if p.state.is_wanted)


class CommandKind(StrEnum):
    ENSURE = "ensure"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Command:
    """One order to one proxy, naming its exact target. Waits in the outbox until it is answered."""

    kind: CommandKind
    proxy_id: ProxyId
    boot_id: BootId
    stream_id: StreamId
    key: Key
    epoch: int
    generation: int
    spec: StreamSpec | None = None
    """What to run; only with ``ensure``."""
    why: str = ""


class ReplyOutcome(StrEnum):
    """How a proxy answers a command (``EnsureOutcome`` and ``StopOutcome`` of ``proxy.contract``)."""

    STARTED = "started"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    SPEC_CONFLICT = "spec_conflict"
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    NEWER_EXISTS = "newer_exists"
    WRONG_BOOT = "wrong_boot"
    STALE_TOKEN = "stale_token"  # noqa: S105 - an outcome, not a secret
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reply:
    """A proxy's answer to one command."""

    outcome: ReplyOutcome
    boot_id: BootId
    sequence: int
    token_highest: int
    detail: str = ""
    held_epoch: int | None = None
    held_generation: int | None = None
    """With ``newer_exists``: the fence the key is at."""


@dataclass(frozen=True, slots=True)
class Source:
    """A publisher on MQTT, as it last described itself."""

    id: SourceId
    boot_id: str
    is_online: bool
    since: datetime
    """When ``is_online`` last changed."""
    seen_at: datetime
    birth_boot_id: str = ""
    birth_seq: int | None = None
    birth_at: datetime | None = None
    """The last birth that was counted."""
    answers_births: bool = False
    """Whether its process has ever answered a request for a birth."""
    silent_since: datetime | None = None
    """When it was found to be connected and not to answer any more."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest epoch of a key that its source has ended: no start at or below it counts any more."""

    epoch: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Block:
    """A key that may not start again for a while, and why."""

    key: Key
    stream_id: StreamId
    """The run that it ended with."""
    reason: Reason
    detail: str
    blocked_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """One move of one run, with its cause: a row of history, never changed."""

    stream_id: StreamId
    key: Key
    epoch: int
    at: datetime
    event: str
    from_state: State | None
    to_state: State
    reason: Reason | None
    detail: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Change:
    """Everything one decision writes, in one transaction."""

    run: Run
    is_new: bool = False
    placements: tuple[Placement, ...] = ()
    """The placements that are new or differ; gone ones too."""
    transitions: tuple[Transition, ...] = ()
    commands: tuple[Command, ...] = ()
    block: Block | None = None
    """Keeps the key from starting again."""
