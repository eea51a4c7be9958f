"""Everything that the API needs from the rest of the process, handed in by ``app``. It holds values and callables only.

The API never sees the control loop, the MQTT client or the settings: what it needs of them is a callable here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from controller.api.pulse import Pulse
from controller.domain.model import Key, ProxyId, SourceId, StreamId
from controller.domain.observation import Observed, Viewer
from controller.domain.plan import Plan
from controller.store.engine import Database

BrokerState = Literal["connected", "connecting", "standby", "off"]
"""``standby``: another controller leads, and only the leader connects."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows about itself without asking anybody."""

    has_observed: bool
    """Whether the proxies were listed at least once since start."""
    is_leader: bool = True
    leader: str = ""
    """Who leads, as far as this process knows; empty when nobody does."""
    broker: BrokerState = "connected"
    broker_detail: str = ""
    database_detail: str = ""
    """Why nobody can take the lead; empty where nothing is known against it."""
    recording_trouble: str = ""
    """Why the database takes nothing of what sources say, though this process leads; empty while it does."""
    recording_delayed_seconds: float = 0.0
    """For how long."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric as plain numbers."""

    name: str
    """Without the prefix; a counter's without ``_total``."""
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], float], ...]
    """((label, value) ..., number)."""
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    sum: float = 0.0
    """Of a histogram, whose samples are its buckets: ``le`` and how many values were at or below it."""


def histogram(name: str, text: str, buckets: tuple[tuple[str, float], ...], total: float) -> Figure:
    """Make a histogram without labels, from its cumulative buckets and the sum of all values."""
    samples = tuple(((("le", bound),), count) for bound, count in buckets)
    return Figure(name, text, samples, "histogram", total)


def figure(name: str, text: str, value: float, kind: Literal["gauge", "counter"] = "gauge") -> Figure:
    """Make a figure without labels."""
    return Figure(name, text, (((), value),), kind)


def _no_figures() -> Iterable[Figure]:
    return ()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """The rest of the process, as the API sees it."""

    database: Database
    observed: Callable[[], Observed]
    """The newest observation, without asking anybody."""
    observe_now: Callable[[], Awaitable[Observed]]
    """List every proxy after this call began, and return the newest observation."""
    wake: Callable[[Iterable[Key]], None]
    """These keys have changed in the database: reconcile them, send what waits in the outbox, ring the pulse."""
    wake_all: Callable[[], None]
    """Something has changed that concerns everything: reconcile it."""
    ask_for_births: Callable[[Iterable[SourceId]], None]
    """Ask these sources over MQTT for the full list of their streams."""
    plan_now: Callable[[], Awaitable[Plan]]
    """What a full cycle would do now. Nothing is done."""
    run_now: Callable[[], Awaitable[None]]
    """Run one full cycle; return when it is over. Raises ConflictError where another controller leads."""
    list_viewers: Callable[[ProxyId], Awaitable[Sequence[Viewer]]]
    """Raises ProxyUnreachableError."""
    kick_viewer: Callable[[ProxyId, str], Awaitable[bool]]
    """End one viewer; tell whether the proxy had it. Raises ProxyUnreachableError."""
    new_id: Callable[[], StreamId]
    pulse: Pulse
    stopping: asyncio.Event
    """Set when the process ends: followers of the event stream are let go."""
    health: Callable[[], Health]
    version: str
    api_token: str | None = field(default=None, repr=False)
    start_grace: timedelta = timedelta(seconds=5)
    stop_grace: timedelta = timedelta(seconds=5)
    figures: Callable[[], Iterable[Figure]] = _no_figures
    """The numbers of the other rooms, for /metrics."""
    clock: Callable[[], datetime] = _utc_now
