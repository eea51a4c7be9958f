"""The documents of the API, as typed dictionaries. Nothing here computes.

mypy checks them where they are made, the OpenAPI document shows them, and they are written to the wire without a second
validation. Times are UTC, durations seconds, rates bits per second, sizes bytes. Every list is
``{"items": [...], "next_cursor": ...}``: hand the cursor back as ``?cursor=`` for what follows; null means the end.
"""

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from controller.api.operator_schemas import BreakerDocument
from controller.domain.model import (
    ConditionStatus,
    ConditionType,
    LoopRule,
    OnEof,
    Outcome,
    Output,
    PlacementState,
    Prefer,
    Reason,
    State,
)
from controller.domain.observation import Freshness, SessionState
from controller.domain.plan import DriftClass, DriftKind, Verb
from controller.domain.verdicts import Verdict

Cursor = str | None


class UpstreamDocument(TypedDict):
    """A URL that is pulled. What looks like a credential is replaced by ``***``, and so are all header values."""

    url: str
    headers: dict[str, str]
    connections_max: int | None


class SpecDocument(TypedDict):
    upstreams: list[UpstreamDocument]
    outputs: list[Output]
    on_demand: bool
    on_eof: OnEof
    viewers_max: int | None
    prefer: Prefer
    return_after_seconds: float
    loop: LoopRule


class ConditionDocument(TypedDict):
    """What may oscillate beside the state. A condition that is absent is unknown."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    since: datetime
    observed_generation: int


class PlacedPart(TypedDict):
    """What the database wishes. All null: nobody asked for it."""

    placement_state: PlacementState | None
    requested_at: datetime | None
    observed_at: datetime | None
    stopping_at: datetime | None


class SeenPart(TypedDict):
    """What the proxy was seen to run. ``state``, of the upstream in the proxy's words, is null when it was not seen."""

    state: SessionState | None
    finished_reason: str
    detail: str
    outputs: list[Output]
    upstream_index: int | None
    """Which upstream of the spec is read, or was last: 0 is the preferred one. Null when that is not known."""
    viewers: int
    viewers_ts: int
    viewers_hls: int
    bytes_in: int
    bytes_out: int
    bitrate_bps: int
    last_byte_age_seconds: float | None
    uptime_seconds: float
    datagrams_lost: int
    """Of ``udp`` and ``rtp`` upstreams: datagrams that never came, as far as that is known."""


class SessionDocument(PlacedPart, SeenPart):
    """A placement and what its proxy was seen to run for it; either may be lacking, which is drift."""

    proxy_id: str
    generation: int
    is_fresh: bool
    """Whether the proxy answered when it was last asked."""


class LinksDocument(TypedDict):
    """Where to watch. All but ``watch``, which redirects there, are null until a proxy was seen to run it.

    ``thumb`` is a snapshot: its newest picture while it is open.
    """

    ts: str | None
    hls: str | None
    thumb: str | None
    watch: str


class StreamDocument(TypedDict):
    """One run of a key."""

    id: str
    key: str
    epoch: int
    state: State
    state_since: datetime
    reason: Reason | None
    reason_detail: str
    outcome: Outcome | None
    source: str
    conditions: list[ConditionDocument]
    sessions: list[SessionDocument]
    viewers: int
    labels: dict[str, str]
    spec: SpecDocument
    spec_generation: int
    generation: int
    failures: int
    retry_at: datetime | None
    expires_at: datetime | None
    stall_timeout_seconds: float | None
    created_at: datetime
    ended_at: datetime | None
    closed_at: datetime | None
    links: LinksDocument


class StreamList(TypedDict):
    items: list[StreamDocument]
    next_cursor: Cursor


class StreamSessionDocument(SessionDocument):
    """A session, with the stream it is of."""

    stream_id: str
    key: str
    epoch: int


class SessionList(TypedDict):
    items: list[StreamSessionDocument]
    next_cursor: Cursor


class TransitionDocument(TypedDict):
    """One move of one run, with its cause."""

    id: int
    at: datetime
    stream_id: str
    key: str
    epoch: int
    event: str
    from_state: State | None
    to_state: State
    reason: Reason | None
    detail: str
    actor: str
    cause: str


class TransitionList(TypedDict):
    items: list[TransitionDocument]
    next_cursor: Cursor


class ViewerDocument(TypedDict):
    """One HTTP client of a session."""

    id: str
    proxy_id: str
    stream_id: str
    key: str
    protocol: Output
    address: str
    user_agent: str
    since_seconds: float
    bytes_sent: int
    lag_bytes: int
    rate_bps: int
    moves: int


class ViewerList(TypedDict):
    items: list[ViewerDocument]
    next_cursor: Cursor
    unreachable: list[str]
    """Proxies that did not answer, and whose viewers are lacking."""


class SampleDocument(TypedDict):
    at: datetime
    figures: dict[str, float]


class SampleList(TypedDict):
    """A source's own figures about a stream, oldest first; ``newest`` is the last one reported."""

    items: list[SampleDocument]
    next_cursor: Cursor
    newest: SampleDocument | None


class SentenceDocument(TypedDict):
    at: datetime | None
    """Null: about now."""
    text: str


class StoryDocument(TypedDict):
    """Why a stream is as it is, in sentences, oldest first."""

    id: str
    key: str
    state: State
    summary: str
    sentences: list[SentenceDocument]
    waits_for: str | None
    """What has to happen next; null when nothing is awaited."""
    text: str
    """All of it as one text."""


class VerdictDocument(TypedDict):
    """What became of an announcement."""

    verdict: Verdict
    stream: StreamDocument | None


class ProxyDocument(TypedDict):
    """The last that was seen of one proxy."""

    id: str
    url: str
    public_url: str
    freshness: Freshness
    boot_id: str
    sequence: int
    observed_at: datetime | None
    error: str
    is_draining: bool
    is_decommissioned: bool
    is_synced: bool
    sessions: int
    sessions_max: int
    """How many it runs at most; 0 is unknown."""
    viewers: int
    bitrate_bps: int


class ProxyList(TypedDict):
    items: list[ProxyDocument]
    next_cursor: Cursor


class DriftDocument(TypedDict):
    """A difference between placements and sessions, from first seen to repaired."""

    id: int
    kind: DriftKind
    drift_class: DriftClass
    key: str
    stream_id: str
    proxy_id: str
    generation: int
    source_id: str
    """Of a drift that concerns a source and no single stream; empty of others."""
    evidence: str
    action: Verb
    gate: str
    """What holds the action back; empty when nothing does."""
    first_seen: datetime
    last_seen: datetime
    looks: int
    repaired_at: datetime | None


class DriftList(TypedDict):
    items: list[DriftDocument]
    next_cursor: Cursor


class ActionDocument(TypedDict):
    """One thing the control loop does or holds back, and why."""

    verb: Verb
    key: str
    stream_id: str
    proxy_id: str
    generation: int
    why: str
    drift_kind: DriftKind | None
    gate: str


class CycleDocument(TypedDict):
    """One look of the control loop."""

    id: int
    at: datetime
    cause: str
    token: int
    duration_seconds: float
    counts: dict[str, int]
    actions: list[ActionDocument]
    error: str


class CycleList(TypedDict):
    items: list[CycleDocument]
    next_cursor: Cursor


class PlanDocument(TypedDict):
    """What a cycle would do now. Nothing is done."""

    items: list[ActionDocument]
    next_cursor: Cursor
    is_empty: bool
    """Whether carrying it out would change nothing."""
    digest: str
    """What to approve, so that everything held for want of evidence is done; empty when nothing is."""
    breaker: BreakerDocument


class RunDocument(TypedDict):
    """A cycle has run; ``cycle`` is what the newest one wrote down."""

    cycle: CycleDocument | None


class RefusalDocument(TypedDict):
    """A message that could not be read. ``payload`` is its first 4 KiB without secrets when it is text.

    Of anything else it is the first 8 bytes (``hex``), or nothing when those say words (``hidden``). The digest
    is the SHA-256 of the first 4 KiB.
    """

    id: int
    at: datetime
    topic: str
    reason: str
    payload: str
    payload_encoding: Literal["utf-8", "hex", "hidden"]
    payload_bytes: int
    payload_digest: str


class RefusalList(TypedDict):
    items: list[RefusalDocument]
    next_cursor: Cursor


class AliveDocument(TypedDict):
    status: Literal["ok"]
    version: str


class CheckDocument(TypedDict):
    ok: bool
    detail: str


class ReadyDocument(TypedDict):
    """Whether this process can serve: the database answers, and the proxies were listed once.

    The broker is told of and does not count: people need the page most while it is away.
    """

    ready: bool
    is_leader: bool
    leader: str
    """Who leads, as far as this process knows; empty when nobody does."""
    database: CheckDocument
    observation: CheckDocument
    broker: CheckDocument
