"""Both sides of the comparison: what the proxies were seen to run, and all that the database wishes.

As in ``model``, nothing here decides. How far an observation may be believed is part of it.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from controller.domain.breaker import Breaker
from controller.domain.controls import Controls
from controller.domain.model import BootId, CommandKind, Key, Output, ProxyId, Run, Source, Stream, StreamId

UNLIMITED = Controls()

NO_BOOT = BootId("")
"""Of a proxy that has not answered yet."""


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
    looping_seconds: float | None = None
    """Since when the same pictures come again and again; None while they do not."""
    loop_period_seconds: float | None = None
    spec_digest: str = ""
    """The proxy's fingerprint of the spec that runs."""
    installation: str = ""
    """Whose session it is; empty where nobody has said."""


class SessionList(tuple[Session, ...]):  # noqa: SLOT001 - what is worked out needs a place
    """What one proxy was seen to run, in its order. Where to find what is worked out once for all who look."""

    @functools.cached_property
    def by_stream(self) -> Mapping[StreamId, Sequence[int]]:
        """The places of the sessions of each stream."""
        places: defaultdict[StreamId, list[int]] = defaultdict(list)
        for place, session in enumerate(self):
            places[session.stream_id].append(place)
        return MappingProxyType(dict(places))

    @functools.cached_property
    def by_key(self) -> Mapping[Key, Sequence[Session]]:
        found: defaultdict[Key, list[Session]] = defaultdict(list)
        for session in self:
            found[session.key].append(session)
        return MappingProxyType(dict(found))


@dataclass(frozen=True, slots=True)
class Figures:
    """What moves by itself while a session runs. Nothing is decided by it."""

    upstream_index: int | None = None
    """Which of its upstreams is read, or was last; the preferred one is 0."""
    viewers_ts: int = 0
    viewers_hls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bitrate_bps: int = 0
    last_byte_age_seconds: float | None = None
    uptime_seconds: float = 0.0
    datagrams_lost: int = 0

    @property
    def viewers(self) -> int:
        return self.viewers_ts + self.viewers_hls


UNKNOWN_FIGURES = Figures()
"""Of a session that another process saw."""


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
    rate_bps: int
    moves: int


@dataclass(frozen=True, slots=True)
class ProxyView:
    """The last that was seen of one proxy, and how far it may be believed."""

    proxy_id: ProxyId
    url: str
    """Where it was found."""
    freshness: Freshness
    boot_id: BootId = NO_BOOT
    sequence: int = 0
    public_url: str = ""
    observed_at: datetime | None = None
    """When it last answered a list."""
    error: str = ""
    """Why it is not fresh."""
    is_draining: bool = False
    is_synced: bool = False
    token_highest: int = 0
    sessions_max: int = 0
    """How many it runs at most; 0 is unknown."""
    sessions: tuple[Session, ...] = ()
    figures: Sequence[Figures] = field(default=(), repr=False, compare=False)
    """Of the sessions, in their order; empty when they are not known."""
    viewers: int = 0
    bitrate_bps: int = 0
    """Of all sessions together."""

    def __post_init__(self) -> None:
        if not isinstance(self.sessions, SessionList):
            object.__setattr__(self, "sessions", SessionList(self.sessions))

    @property
    def listed(self) -> SessionList:
        """The sessions, and where to find them: a list that is the same value has been indexed before."""
        assert isinstance(self.sessions, SessionList)
        return self.sessions

    def figures_at(self, place: int) -> Figures:
        """Return the figures of the session at this place."""
        return self.figures[place] if self.figures else UNKNOWN_FIGURES

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
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class StuckCommand:
    """A command that was sent many times, and never answered."""

    key: Key
    stream_id: StreamId
    generation: int
    proxy_id: ProxyId
    kind: CommandKind
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the database says, as one reading."""

    runs: tuple[Run, ...]
    """Every run that is not CLOSED or has a placement that is not gone."""
    closed: Mapping[StreamId, Stream] = field(default_factory=lambda: MappingProxyType({}))
    """Of the sessions observed: those whose run is CLOSED."""
    drifts: Mapping[DriftKey, DriftSeen] = field(default_factory=lambda: MappingProxyType({}))
    pending: frozenset[tuple[StreamId, int, ProxyId]] = frozenset()
    """(stream, generation, proxy) with a command waiting in the outbox."""
    stuck: tuple[StuckCommand, ...] = ()
    """Of the commands that wait: those that were sent many times."""
    silent: tuple[Source, ...] = ()
    """Sources that are connected and do not answer. Read with everything else only."""
    closed_since: int = 0
    """Runs that were CLOSED since the last full reading of whoever asks."""
    breaker: Breaker = field(default_factory=Breaker)
    approvals: frozenset[str] = frozenset()
    """Digests of plans that operators have approved, and that were not used yet."""
    controls: Controls = UNLIMITED
    """What operators allow."""
    keys: frozenset[Key] | None = None
    """When not None, only these keys were read: nothing may be concluded about others."""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the proxies say, as one reading."""

    proxies: tuple[ProxyView, ...] = ()
