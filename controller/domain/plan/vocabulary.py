"""What a plan is made of: drifts, actions, the policy they are decided by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from controller.domain.breaker import Breaker, Glance
from controller.domain.budgets import Budgets, Limits
from controller.domain.mass_end import MassEnd
from controller.domain.model import BootId, Change, Command, Key, ProxyId, Run, StreamSpec
from controller.domain.observation import DriftKey, SessionList
from controller.domain.plan.taxonomy import DriftKind, GateKind
from controller.domain.retry import Backoff


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, with what proves it."""

    kind: DriftKind
    key: str
    stream_id: str
    proxy_id: str
    generation: int
    evidence: str
    source_id: str = ""
    """Of a drift that concerns a source and no single stream."""

    @property
    def drift_key(self) -> DriftKey:
        return DriftKey(self.kind.value, self.proxy_id, self.stream_id, self.generation, self.source_id)


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
class Gate:
    """What holds an action back: its kind, and in words what has to happen first."""

    kind: GateKind
    text: str


REPORTED = Gate(GateKind.REPORTED, "reported only")


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
    gate_kind: GateKind | None = None
    """With ``hold``: the kind of that gate."""

    @classmethod
    def hold(cls, drift: Drift, gate: Gate) -> "Action":
        """Return what says that nothing is done about a drift, and what that waits for."""
        return cls(
            verb=Verb.HOLD,
            key=drift.key,
            stream_id=drift.stream_id,
            proxy_id=drift.proxy_id,
            generation=drift.generation,
            why=drift.evidence,
            drift=drift,
            gate=gate.text,
            gate_kind=gate.kind,
        )


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
    lag_grace: timedelta = timedelta(seconds=60)
    """A placement that a proxy which answers was not seen to run after this is reported."""
    flow_grace: timedelta = timedelta(seconds=10)
    """A wanted upstream, or a proxy, that has been silent for this long makes its stream STALLED."""
    drain_moves_max: int = 20
    """Streams that are on their way from proxies that are being drained, at one time."""
    stall_timeout: timedelta | None = None
    """STALLED for this long is ENDED, for streams that announce none themselves. None: never."""
    limits: Limits = field(default_factory=Limits)
    """How much may be stopped in how much time."""
    loop_timeout: timedelta | None = None
    """Looping for this long is ENDED. None: never."""
    live_last_max: timedelta | None = None
    """A source whose newest media is older than this makes its stream loop. None: it may be as old as it likes."""
    block_retention: timedelta = timedelta(days=1)
    """For so long a key that ended as a loop may not start again. Zero: it may at once."""
    backoff: Backoff = field(default_factory=Backoff)
    mass_end: MassEnd | None = None
    """When ends of one source are too many at once to be believed. None: never."""
    fingerprint: Callable[[Key, StreamSpec], str] | None = None
    """What a proxy reports of the session that runs this spec for this key. None: it is not compared."""

    installation: str = ""
    """What our sessions are marked with: those of others are reported, and left alone. Empty: there are no others."""

    def grace(self, kind: DriftKind) -> timedelta:
        """How long a drift of this kind has to last before anything is done about it."""
        grace: timedelta = getattr(self, kind.rule.grace) if kind.rule.grace is not None else timedelta()
        return grace


@dataclass(frozen=True, slots=True)
class Carrier:
    """What settles a run at a fresh proxy, beside its session."""

    boot_id: BootId
    is_draining: bool
    sessions: SessionList


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a full plan was made on, and the runs it found settled: these very values, by identity."""

    policy: Policy | None = None
    runs: tuple[Run, ...] = ()
    by_key: Mapping[Key, Sequence[Run]] = field(default_factory=lambda: MappingProxyType({}))
    """All of these runs."""
    carriers: Mapping[ProxyId, Carrier] = field(default_factory=lambda: MappingProxyType({}))
    settled: Mapping[Key, Run] = field(default_factory=lambda: MappingProxyType({}))
    expiring: Mapping[Key, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """When those of the settled runs end that have to be announced again."""


NOTHING_AGREED = Agreed()


@dataclass(frozen=True, slots=True)
class Standing:
    """What the controller that plans brings along beside its readings."""

    startup: str = ""
    """Why it must not stop anything yet; empty when it may."""
    heard: timedelta = timedelta.max
    """For how long sources could be heard, without a break until now."""
    budgets: Budgets = field(default_factory=Budgets)
    glance: Glance | None = None
    """What its last full reading looked like."""
    quiet: int = 0
    """Full plans in a row that gave the open breaker no cause."""
    agreed: Agreed = field(default=NOTHING_AGREED, repr=False, compare=False)
    """What its last full plan found. It saves time, and changes no plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, twice: as actions for people, and as what one transaction writes."""

    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    """Per run; each holds only while the run's version is the one it was planned on."""
    stops: tuple[Command, ...] = ()
    """Stops of sessions that belong to no placement."""
    standing: Standing = field(default_factory=Standing)
    """What the next plan begins with."""
    breaker: Breaker = field(default_factory=Breaker)
    """As this plan leaves it."""
    is_breaker_changed: bool = False
    digest: str = ""
    """Names what an approval of this plan would release; empty when there is nothing to approve."""
    approval: str = ""
    """The approval that this plan uses up."""
    asks_for_births: bool = False
    """Whether a session was seen for the first time that a source may know of and the database does not."""

    @property
    def is_empty(self) -> bool:
        """Whether carrying it out changes nothing."""
        return not (self.changes or self.stops)
