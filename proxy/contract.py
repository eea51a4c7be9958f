"""The wire types of the proxy's control API: the only doorway between the two houses.

Pure data: no I/O, no clock. The controller imports this module (from ``controller.proxy_client`` alone) and nothing
else of the proxy. Paths, all below ``/control/v1`` and behind ``Authorization: Bearer TOKEN``:

======================================= ======================= ==================================================
request                                 answer                  meaning
======================================= ======================= ==================================================
GET    /sessions                        SessionList             everything this proxy runs, finished ones included;
                                                                as lines for who accepts ``LINES``
PUT    /sessions/{stream_id}            EnsureReply             run exactly this (body: EnsureRequest); idempotent
DELETE /sessions/{stream_id}?key&epoch  StopReply               stop what is at or below that fence (query:
       &generation&boot_id&token                                StopRequest); idempotent
       [&installation&moved_to]
GET    /sessions/watch                  lines of Change         one JSON object a line: something changed, list again
POST   /synced                          CommandReply            body SyncedRequest: the first full sync is done,
                                                                and this token leads
GET    /viewers                         ViewerList
DELETE /viewers/{viewer_id}             204, or 404
======================================= ======================= ==================================================

HTTP status of PUT: 200 for every ``EnsureOutcome`` that leaves the wished session running, else 409 (412 for
``wrong_boot``). Of DELETE: 200 for every outcome but ``wrong_boot`` (412) and ``stale_token`` (409). The body always
carries the outcome: callers switch on the body, not on the status. Malformed requests get 400 and a ``Problem``.
"""

import functools
import hashlib
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PREFIX = "/control/v1"

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$"
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
Installation = Annotated[str, StringConstraints(max_length=128)]
"""Whose session it is, where several keep sessions at one proxy. Empty: not said. It decides nothing here."""
PublicUrl = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/?#]+)?$", max_length=512)]
Counter = Annotated[int, Field(ge=0, le=2**63 - 1)]


LINES = "application/x-ndjson"
"""Accepted by who reads lists often. See ``to_lines``."""


class Wire(BaseModel):
    """Base of every wire type: immutable, and unknown fields are refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(StrEnum):
    TS = "ts"
    HLS = "hls"


class Upstream(Wire):
    """One URL to pull, with the request headers (credentials included) it needs."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    headers: dict[str, str] = {}
    connections_max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """So many pulls its host (name and port) gets from this proxy at once; None: as the proxy's setting says."""


class SessionSpec(Wire):
    """What a session is to run. Equal specs (same ``digest`` given by the controller) are the same session."""

    key: Key
    upstreams: Annotated[tuple[Upstream, ...], Field(min_length=1, max_length=16)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=2)] = (Output.TS, Output.HLS)
    on_demand: bool = True
    """Open the upstream with the first viewer and close it ``linger`` after the last; else keep it open."""
    on_eof: Literal["reconnect", "end"] = "reconnect"
    """What a clean end of the upstream means: connect again, or finish the session with ``upstream_ended``."""
    loop: Literal["watch", "allow"] = "watch"
    """Whether an upstream that plays the same pictures again and again is left for the next, and reported."""
    viewers_max: Annotated[int, Field(ge=1)] | None = None
    """So many may watch at once, both protocols together; further ones are answered 503. None: as many as come."""
    prefer: Literal["first", "stay"] = "first"
    """While an upstream further down the list delivers: go back to a better one when it can, or stay."""
    return_after_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long after it failed a better upstream is tried again."""


class EnsureRequest(Wire):
    """Run ``spec`` for stream ``stream_id`` (in the path) at fence ``(epoch, generation)``."""

    epoch: Counter
    generation: Counter
    boot_id: str
    """The proxy process this command is meant for; another one answers ``wrong_boot``."""
    token: Counter
    """The controller's token; lower than the highest seen answers ``stale_token``."""
    spec: SessionSpec
    installation: Installation = ""


class EnsureOutcome(StrEnum):
    STARTED = "started"
    """The key was free, or an older epoch held it: a new session runs (an older one has been stopped)."""
    REPLACED = "replaced"
    """A lower generation of the same epoch held the key: replaced in place, its viewers stay."""
    UNCHANGED = "unchanged"
    """This very session runs already (or has finished: see its state)."""
    SPEC_CONFLICT = "spec_conflict"
    """Same fence, another spec: refused."""
    NEWER_EXISTS = "newer_exists"
    """The key, or its tombstone, is at a higher fence (or the tombstone at this one): refused."""
    WRONG_BOOT = "wrong_boot"
    STALE_TOKEN = "stale_token"  # noqa: S105 - an outcome, not a secret
    REFUSED = "refused"
    """The proxy cannot take it (draining, at its limit, upstream kind or address not allowed, another installation
    has the key); see ``detail``."""


class StopRequest(Wire):
    """Stop the session of ``key`` if it is at or below ``(epoch, generation)``; leave a tombstone there."""

    key: Key
    epoch: Counter
    generation: Counter
    boot_id: str
    token: Counter
    installation: Installation = ""
    """Whose command it is: a session of another one's is left alone, unless it is of this very stream."""
    moved_to: PublicUrl = ""
    """Where the key runs now, another proxy's ``public_url``: viewers who come for it are sent there for a while."""


class StopOutcome(StrEnum):
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    NEWER_EXISTS = "newer_exists"
    WRONG_BOOT = "wrong_boot"
    STALE_TOKEN = "stale_token"  # noqa: S105 - an outcome, not a secret


class CommandReply(Wire):
    """What every command is answered with."""

    proxy_id: str
    boot_id: str
    sequence: Counter
    """Rises with every change of the set of sessions. A list is evidence about a command once its sequence is at
    least the one in the command's reply."""
    token_highest: Counter
    detail: str = ""
    held_epoch: Counter | None = None
    held_generation: Counter | None = None
    """With ``newer_exists``: the fence that the key, or its tombstone, is at."""


class EnsureReply(CommandReply):
    outcome: EnsureOutcome


class StopReply(CommandReply):
    outcome: StopOutcome


class SyncedRequest(Wire):
    boot_id: str
    token: Counter


class UpstreamState(StrEnum):
    IDLE = "idle"
    """On demand, and nobody watches: nothing is open."""
    CONNECTING = "connecting"
    """Wanted; opened or being opened, no media byte of this pull yet."""
    FLOWING = "flowing"
    STALLED = "stalled"
    """Open, but silent for longer than the stall limit."""
    WAITING = "waiting"
    """The last attempt failed, and the next comes after a back-off; or its host gives no further connection."""
    FINISHED = "finished"
    """Over by itself; see ``finished_reason``. Listed until it is deleted."""


class FinishedReason(StrEnum):
    UPSTREAM_ENDED = "upstream_ended"
    START_FAILED = "start_failed"
    FAILED = "failed"
    """The session's own task failed: a fault of the proxy, with its text in ``detail``."""


class SessionFacts(Wire):
    """What there is to know about one session. Written out, it is the same bytes for as long as nothing happens."""

    stream_id: str
    key: str
    epoch: Counter
    generation: Counter
    spec_digest: str
    """``digest(spec)`` of what runs."""
    installation: Installation = ""
    """As whoever asked for it last has said."""
    outputs: tuple[Output, ...]
    on_demand: bool
    state: UpstreamState
    finished_reason: FinishedReason | None = None
    detail: str = ""
    """Why it is not flowing, in words for an operator; credentials are never in it."""
    wanted: bool = False
    """Whether the upstream is to be open now: it has viewers, lingers, or is not on demand."""
    delivered: bool = False
    """Whether a media byte came since the upstream was last wanted: tells a stall from a start that failed."""
    failing_seconds: float | None = None
    """Since when the upstream has been wanted without delivering; None while it delivers or is not wanted."""
    looping_seconds: float | None = None
    """Since when it has been certain that the same pictures come again and again; None while they do not."""
    loop_period_seconds: float | None = None
    """With ``looping_seconds``: how long one round takes."""


class SessionFigures(Wire):
    """What moves by itself while a session runs. Ages are seconds, sizes bytes, rates bits per second."""

    upstream_index: int = 0
    viewers_ts: int = 0
    viewers_hls: int = 0
    bytes_in: Counter = 0
    bytes_out: Counter = 0
    bitrate_bps: Counter = 0
    last_byte_age_seconds: float | None = None
    """Since the last media byte of this session; None before the first."""
    uptime_seconds: float = 0.0
    connects: Counter = 0
    """Upstream connections opened so far."""
    resyncs: Counter = 0
    """Times that junk between packets was skipped."""
    datagrams_lost: Counter = 0
    """Of ``udp:`` and ``rtp:`` upstreams: datagrams that never came, as far as numbers or the kernel tell."""
    datagrams_reordered: Counter = 0
    """RTP packets that came after a later one and were put in order."""


class SessionView(SessionFacts, SessionFigures):
    """One session as the proxy sees it now."""


class ProxyFacts(Wire):
    proxy_id: str
    boot_id: str
    sequence: Counter
    public_url: str
    """Where viewers reach this proxy, without a trailing slash."""
    token_highest: Counter
    synced: bool
    """Whether a controller has said that it knows all that should run here since this boot."""
    draining: bool = False
    sessions_max: Counter = 0
    """How many it runs at most; 0 is unknown."""


class SessionList(ProxyFacts):
    sessions: tuple[SessionView, ...]


class ListHead(ProxyFacts):
    """The first line of a list that is written as lines."""

    sessions_count: Counter
    """So many sessions follow."""
    viewers: Counter
    bitrate_bps: Counter
    """Of all sessions together."""


class Change(Wire):
    """One line of the watch: where to look, not what happened. Without ``keys`` it is a keepalive."""

    boot_id: str
    sequence: Counter
    keys: tuple[str, ...] = ()


class Viewer(Wire):
    viewer_id: str
    stream_id: str
    key: str
    protocol: Output
    address: str
    user_agent: str
    since_seconds: float
    bytes_sent: Counter
    lag_bytes: Counter
    """Behind the newest byte of the session; of HLS since the end of the newest segment it has had."""
    rate_bps: Counter
    """What it has been sent in the last five to ten seconds."""
    moves: Counter
    """Times it was too slow and was moved to the newest random access point."""


class ViewerList(Wire):
    proxy_id: str
    boot_id: str
    items: tuple[Viewer, ...]


class Problem(BaseModel):
    """RFC 9457 problem document."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


def digest(spec: SessionSpec) -> str:
    """Return a short fingerprint of everything in the spec: equal specs, equal digests.

    What is as by default is left out, so that two versions of which one knows more fields agree on a spec that does
    not use them.
    """
    canonical = spec.model_dump_json(exclude_defaults=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def to_lines(listed: SessionList) -> bytes:
    """Write a list as lines: its head, then of each session the facts, and below them the figures.

    Apart, because figures move with every list: facts that are the same bytes as before need not be read again.
    """
    views = listed.sessions
    head = ListHead(
        **{name: getattr(listed, name) for name in ProxyFacts.model_fields},
        sessions_count=len(views),
        viewers=sum(view.viewers_ts + view.viewers_hls for view in views),
        bitrate_bps=sum(view.bitrate_bps for view in views),
    )
    lines = [head.__pydantic_serializer__.to_json(head)]
    for view in views:
        lines += _WRITE_FACTS(view), _WRITE_FIGURES(view)
    return b"\n".join(lines)


def from_lines(body: bytes) -> tuple[ListHead, list[bytes], list[bytes]]:
    """Take such a list apart: its head, and of all sessions, in the same order, facts and figures as they came.

    Raises:
        ValueError: it is none, or not all of it is there.
    """
    first, *lines = body.split(b"\n")
    head = ListHead.model_validate_json(first)
    if len(lines) != 2 * head.sessions_count:
        raise ValueError(f"{len(lines)} lines about {head.sessions_count} sessions")
    return head, lines[::2], lines[1::2]


# A view is written as the part of it that is asked for, and what is as by default is left out: a third of the bytes.
_WRITE_FACTS = functools.partial(SessionFacts.__pydantic_serializer__.to_json, exclude_defaults=True)
_WRITE_FIGURES = functools.partial(SessionFigures.__pydantic_serializer__.to_json, exclude_defaults=True)
