"""The nouns of the controller: frozen values that every other room passes around.

Nothing here decides; nothing here knows a database row or a wire type. Times are aware datetimes in UTC, handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
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
        return self not in (State.ENDED, State.CLOSED)


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


@dataclass(frozen=True, slots=True)
class Upstream:
    """A URL that a proxy pulls, and the request headers it needs (names and values, credentials among them)."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a session of this stream has to run. Any change of it raises the stream's ``spec_generation``."""

    upstreams: tuple[Upstream, ...]
    outputs: tuple[Output, ...] = (Output.TS, Output.HLS)
    on_demand: bool = True
    on_eof: OnEof = OnEof.RECONNECT


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
        return self in (PlacementState.REQUESTED, PlacementState.OBSERVED)


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


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest epoch of a key that its source has ended: no start at or below it counts any more."""

    epoch: int
    boot_id: str


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


class Freshness(StrEnum):
    """How far an observation of a proxy may be believed."""

    FRESH = "fresh"
    STALE = "stale"
    """Listed before, not within this cycle: unknown is not absent."""
    LOST = "lost"
    """Not reachable for longer than ``lost_after``: its streams may be placed elsewhere."""
    NEVER = "never"
    """Not reached since this controller started."""


class SessionState(StrEnum):
    """The proxy's word on a session's upstream (``proxy.contract.UpstreamState``)."""

    IDLE = "idle"
    CONNECTING = "connecting"
    FLOWING = "flowing"
    STALLED = "stalled"
    WAITING = "waiting"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Session:
    """What a proxy was seen to run."""

    stream_id: StreamId
    key: Key
    epoch: int
    generation: int
    outputs: tuple[Output, ...]
    state: SessionState
    finished_reason: str = ""
    detail: str = ""
    wanted: bool = False
    delivered: bool = False
    """Whether a media byte came since the upstream was last wanted."""
    failing_seconds: float | None = None
    viewers_ts: int = 0
    viewers_hls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bitrate_bps: int = 0
    last_byte_age_seconds: float | None = None
    uptime_seconds: float = 0.0

    @property
    def viewers(self) -> int:
        return self.viewers_ts + self.viewers_hls


@dataclass(frozen=True, slots=True)
class Viewer:
    """One HTTP client of a session, counted from its real connection."""

    viewer_id: str
    proxy_id: ProxyId
    stream_id: StreamId
    key: Key
    protocol: Output
    address: str
    user_agent: str
    since_seconds: float
    bytes_sent: int
    lag_bytes: int
    moves: int


@dataclass(frozen=True, slots=True)
class ProxyView:
    """The last that was seen of one proxy, and how far it may be believed."""

    proxy_id: ProxyId
    url: str
    """Where it was found."""
    freshness: Freshness
    boot_id: BootId = BootId("")
    sequence: int = 0
    public_url: str = ""
    observed_at: datetime | None = None
    """When it last answered a list."""
    error: str = ""
    """Why it is not fresh."""
    is_draining: bool = False
    is_synced: bool = False
    token_highest: int = 0
    sessions: tuple[Session, ...] = ()

    @property
    def is_fresh(self) -> bool:
        return self.freshness is Freshness.FRESH


@dataclass(frozen=True, slots=True)
class DriftSeen:
    """What earlier cycles remember of a drift that is still open."""

    first_seen: datetime
    looks: int


@dataclass(frozen=True, slots=True)
class DriftKey:
    """What makes two sightings the same drift."""

    kind: str
    proxy_id: str
    stream_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the database says, as one reading."""

    runs: tuple[Run, ...]
    """Every run that is not CLOSED or has a placement that is not gone."""
    closed: Mapping[StreamId, Stream] = field(default_factory=lambda: MappingProxyType({}))
    """Of the sessions observed: those whose run is CLOSED."""
    drifts: Mapping[DriftKey, DriftSeen] = field(default_factory=lambda: MappingProxyType({}))
    pending: frozenset[tuple[StreamId, int]] = frozenset()
    """(stream, generation) with a command waiting in the outbox."""
    keys: frozenset[Key] | None = None
    """When not None, only these keys were read: nothing may be concluded about others."""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the proxies say, as one reading."""

    proxies: tuple[ProxyView, ...] = ()
