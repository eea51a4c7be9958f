"""A source's own figures about its streams: the newest, and a ring of samples per stream that cannot grow."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from controller.domain.model import StreamId
from controller.store import batches, dialects
from controller.store.tables import stream_stats

SAMPLE_SECONDS = 30
SAMPLES_MAX = 240
"""Two hours of samples."""

_NEWEST = 0


@dataclass(frozen=True, slots=True)
class Sample:
    at: datetime
    figures: tuple[tuple[str, float], ...]


def note(session: Session, figures: Mapping[StreamId, tuple[tuple[str, float], ...]], *, now: datetime) -> None:
    """Write the newest figures of streams. The newest wins; each ``SAMPLE_SECONDS`` keep their last."""
    slot = 1 + int(now.timestamp() // SAMPLE_SECONDS) % SAMPLES_MAX
    values = [
        {"stream_id": stream_id, "slot": written, "at": now, "figures": _finite(pairs)}
        for stream_id, pairs in figures.items()
        for written in (_NEWEST, slot)
    ]
    dialects.upsert(session, stream_stats, values, newer="at")


def newest(session: Session, stream_ids: Collection[StreamId]) -> dict[StreamId, Sample]:
    """Return the newest figures of each stream that has any."""
    found: dict[StreamId, Sample] = {}
    for part in batches.parts(stream_ids):
        query = select(stream_stats).where(stream_stats.c.slot == _NEWEST, stream_stats.c.stream_id.in_(part))
        for row in session.execute(query):
            found[StreamId(row.stream_id)] = _sample_from(row)
    return found


def samples(session: Session, stream_id: StreamId) -> tuple[Sample, ...]:
    """Return what is kept of a stream's figures, oldest first."""
    query = (
        select(stream_stats)
        .where(stream_stats.c.stream_id == stream_id, stream_stats.c.slot != _NEWEST)
        .order_by(stream_stats.c.at)
    )
    return tuple(_sample_from(row) for row in session.execute(query))


def _finite(pairs: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Leave out what JSON cannot say."""
    return {name: value for name, value in pairs if math.isfinite(value)}


def _sample_from(row: Row[Any]) -> Sample:
    return Sample(row.at, tuple(row.figures.items()))
