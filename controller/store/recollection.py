"""Runs as they were read before: what has not changed is not read again.

Every save raises a run's version, so that versions tell what has to be read. Rows that people change by hand keep
theirs; what they change most, states and generations, is compared too, and once in a while everything is read anew.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from controller.domain.model import ProxyId, Run, StreamId
from controller.domain.observation import ProxyView
from controller.store import streams
from controller.store.tables import placements
from controller.store.tables import streams as stream_rows

ANEW_EVERY: Final = 6
"""Of so many readings one reads everything."""

Mark = tuple[object, ...]
"""Version, state and generation of a run, and generation, state and proxy of each of its placements."""


class Recollection:
    """What one control loop remembers of the database. Runs that are no longer open are forgotten."""

    def __init__(self) -> None:
        self._written: dict[ProxyId, Mark] = {}
        self._known: dict[StreamId, tuple[Mark, Run]] = {}
        self._readings = 0

    def read(self, session: Session) -> tuple[Run, ...]:
        """Return every run that is not CLOSED or has a placement that is not gone, as ``streams.desired`` does."""
        marks = _read_marks(session)
        known = self._known if self._readings % ANEW_EVERY else {}
        stale = [stream_id for stream_id, mark in marks.items() if known.get(stream_id, _NOTHING)[0] != mark]
        fresh = streams.load_runs(session, stale) if known else _load_all(session)
        found = {i: (mark, fresh[i]) if i in fresh else known[i] for i, mark in marks.items()}
        self._known = found
        self._readings += 1
        return tuple(run for _, run in found.values())

    def is_news(self, view: ProxyView) -> bool:
        """Say whether a proxy was seen otherwise than it was written last: by its sequence, not by bytes it sent."""
        return self._written.get(view.proxy_id) != _mark(view)

    def note_written(self, views: Iterable[ProxyView]) -> None:
        self._written |= {view.proxy_id: _mark(view) for view in views}


def _mark(view: ProxyView) -> Mark:
    return view.url, view.boot_id, view.sequence, view.freshness, view.is_draining, view.is_synced


_NOTHING: Final[tuple[Mark, None]] = ((), None)

_STREAMS: Select[Any] = select(
    stream_rows.c.id, stream_rows.c.version, stream_rows.c.state, stream_rows.c.generation
).where(stream_rows.c.id.in_(streams.UNFINISHED_IDS))
_PLACEMENTS: Select[Any] = (
    select(placements.c.stream_id, placements.c.generation, placements.c.state, placements.c.proxy_id)
    .where(streams.IS_NOT_GONE)
    .order_by(placements.c.generation)
)


def _load_all(session: Session) -> dict[StreamId, Run]:
    return {run.stream.id: run for run in streams.load_unfinished(session)}


def _read_marks(session: Session) -> dict[StreamId, Mark]:
    placed: defaultdict[str, Mark] = defaultdict(tuple)
    for row in session.execute(_PLACEMENTS).all():
        placed[row[0]] += tuple(row[1:])
    return {StreamId(row[0]): (*row[1:], *placed[row[0]]) for row in session.execute(_STREAMS).all()}
