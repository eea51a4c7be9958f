"""What a plan is made of: drift kinds, actions, the policy they are decided by."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from controller.domain.model import Change, Command
from controller.domain.observation import DriftKey
from controller.domain.retry import Backoff


class DriftClass(StrEnum):
    """How dangerous the repair is."""

    ADDITIVE = "A"
    """Starts something that is missing."""
    EVIDENCED = "E"
    """Stops something, and a row of the database says that it is over."""
    UNEVIDENCED = "N"
    """Would stop something of which the database knows nothing: held first."""
    REPORT = "R"
    """Never repaired by itself."""


class DriftKind(StrEnum):
    """Every difference between placements and sessions has one of these names."""

    MISSING_SESSION = "missing_session"
    PROXY_LOST = "proxy_lost"
    ORPHAN_ENDED = "orphan_ended"
    ORPHAN_SUPERSEDED = "orphan_superseded"
    ORPHAN_GENERATION = "orphan_generation"
    ORPHAN_UNKNOWN = "orphan_unknown"
    GENERATION_AHEAD = "generation_ahead"
    NEWER_THAN_DATABASE = "newer_than_database"
    PLACEMENT_NOT_STOPPING = "placement_not_stopping"
    STUCK_STOPPING = "stuck_stopping"

    @property
    def drift_class(self) -> DriftClass:
        return _CLASSES[self]


_CLASSES = {
    DriftKind.MISSING_SESSION: DriftClass.ADDITIVE,
    DriftKind.PROXY_LOST: DriftClass.ADDITIVE,
    DriftKind.ORPHAN_ENDED: DriftClass.EVIDENCED,
    DriftKind.ORPHAN_SUPERSEDED: DriftClass.EVIDENCED,
    DriftKind.ORPHAN_GENERATION: DriftClass.EVIDENCED,
    DriftKind.ORPHAN_UNKNOWN: DriftClass.UNEVIDENCED,
    DriftKind.GENERATION_AHEAD: DriftClass.ADDITIVE,
    DriftKind.NEWER_THAN_DATABASE: DriftClass.REPORT,
    DriftKind.PLACEMENT_NOT_STOPPING: DriftClass.EVIDENCED,
    DriftKind.STUCK_STOPPING: DriftClass.EVIDENCED,
}


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, with what proves it."""

    kind: DriftKind
    key: str
    stream_id: str
    proxy_id: str
    generation: int
    evidence: str

    @property
    def drift_key(self) -> DriftKey:
        return DriftKey(self.kind.value, self.proxy_id, self.stream_id, self.generation)


class Verb(StrEnum):
    PLACE = "place"
    REPLACE = "replace"
    MOVE = "move"
    RESEND = "resend"
    STOP = "stop"
    OBSERVE = "observe"
    CONFIRM_GONE = "confirm_gone"
    ADVANCE = "advance"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the plan does, or holds back, and why: for people, logs and the drift table."""

    verb: Verb
    key: str
    stream_id: str
    proxy_id: str
    generation: int
    why: str
    drift: Drift | None = None
    gate: str = ""
    """With ``hold``: what must happen before it is done."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The graces and limits that planning obeys. All are durations unless the name says otherwise."""

    start_grace: timedelta = timedelta(seconds=5)
    """A start that was never answered is sent again after this."""
    stop_grace: timedelta = timedelta(seconds=5)
    """A session still listed this long after its stop was decided is drift."""
    orphan_grace: timedelta = timedelta(seconds=60)
    """A session of which the database knows nothing is stopped after this, if nobody claims it."""
    orphan_looks: int = 2
    """And after this many observations."""
    flow_grace: timedelta = timedelta(seconds=10)
    """A wanted upstream, or a proxy, that has been silent for this long makes its stream STALLED."""
    stall_timeout: timedelta | None = None
    """STALLED for this long is ENDED, for streams that announce none themselves. None: never."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, twice: as actions for people, and as what one transaction writes."""

    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    """Per run; each holds only while the run's version is the one it was planned on."""
    stops: tuple[Command, ...] = ()
    """Stops of sessions that belong to no placement."""

    @property
    def is_empty(self) -> bool:
        """Whether carrying it out changes nothing."""
        return not (self.changes or self.stops)
