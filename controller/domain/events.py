"""What can happen to streams from outside: the closed union that ``ingest`` and ``api`` hand to the store.

Each value is already checked for form; whether it counts (order, ownership, repeats) is decided in ``admission``.
"""

from dataclasses import dataclass
from datetime import datetime

from controller.domain.model import Cause, Key, Reason, SourceId, StreamId, StreamSpec


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """The position a source gives a message about a key: (epoch, seq). Never arrival, never a clock."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class StreamAnnounced:
    """A source says that a stream runs, or how it runs now."""

    source_id: SourceId
    key: Key
    spec: StreamSpec
    cause: Cause
    order: Order | None = None
    boot_id: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    stall_timeout_seconds: float | None = None
    expires_in_seconds: float | None = None
    is_retained: bool = False


@dataclass(frozen=True, slots=True)
class StreamEndAnnounced:
    """A source says that exactly one stream has ended."""

    source_id: SourceId
    key: Key
    cause: Cause
    order: Order | None = None
    boot_id: str | None = None
    reason: Reason = Reason.SOURCE_ENDED
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """An operator stops one run, named by its id."""

    stream_id: StreamId
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SourceReported:
    """A source came online, or its Last Will says that it is gone (which is unknown, not ended)."""

    source_id: SourceId
    boot_id: str
    is_online: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class BirthReported:
    """The full list of what a source runs."""

    source_id: SourceId
    boot_id: str
    streams: tuple[StreamAnnounced, ...]
    cause: Cause
    seq: int | None = None
    """Numbers the births of one boot, so that a redelivered one is known as such."""
    is_answer: bool = False
    """Whether it came after a request for one."""


@dataclass(frozen=True, slots=True)
class SilenceReported:
    """A source that has answered before leaves requests for a birth unanswered, on a connection that held."""

    source_id: SourceId
    unanswered: int
    """So many in a row."""
    birth_at: datetime | None
    """Its last birth, as far as whoever reports knows."""
    cause: Cause


@dataclass(frozen=True, slots=True)
class StatsReported:
    """A source's own figures about a stream. Newest wins."""

    source_id: SourceId
    key: Key
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """What could not be read: kept in quarantine, then acknowledged."""

    topic: str
    payload_head: bytes
    """The first 4 KiB."""
    payload_bytes: int
    reason: str


Incoming = (
    StreamAnnounced
    | StreamEndAnnounced
    | StopRequested
    | SourceReported
    | BirthReported
    | SilenceReported
    | StatsReported
    | MessageRefused
)
