"""Runs as they were read before: what has not changed is not read again.

Runs are remembered in parts, by the ends of their ids. The database puts what moves in the rows of each part into one
text: versions, which every save raises, and the states and generations that people change by hand. Only where that
text is another one are its runs looked at, one by one. All there is in the rows is compared too, of a sixth of the
parts in every reading: what people change elsewhere keeps its version.
"""

import hashlib
import threading
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.orm import Session

from controller.domain.model import ProxyId, Run, StreamId
from controller.domain.observation import ProxyView
from controller.store import batches, streams
from controller.store.tables import placements
from controller.store.tables import streams as stream_rows

TURNS: Final = 6
"""In so many readings all there is in the rows is compared once."""

Mark = tuple[object, ...]
"""Version, state and generation of a run, and generation, state and proxy of each of its placements."""

Digest = tuple[bytes, ...]
"""Of a part's streams, and of its placements where it has any."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What is remembered of the runs whose ids end alike."""

    moving: Digest = ()
    whole: Digest = ()
    """As of its last turn."""
    runs: Mapping[StreamId, tuple[Mark, Run]] | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Every run that is not CLOSED or has a placement that is not gone: the very same one while that is so."""

    runs: tuple[Run, ...]
    ids: AbstractSet[StreamId]


@dataclass(frozen=True, slots=True)
class _Memory:
    """What one reading found, all of it."""

    moving: Mapping[str, Digest]
    lingering: Mapping[str, Digest]
    """Of streams that are CLOSED and have a placement that is not gone."""
    parts: Mapping[str, _Part]
    unfinished: Unfinished


_NOTHING: Final = _Memory({}, {}, {}, Unfinished((), frozenset()))


class Recollection:
    """What one control loop remembers of the database. Runs that are no longer open are forgotten."""

    def __init__(self) -> None:
        self._written: dict[ProxyId, Mark] = {}
        self._memory = _NOTHING
        self._readings = 0
        self._one_at_a_time = threading.Lock()

    def read(self, session: Session) -> Unfinished:
        """Return the unfinished runs, as ``streams.load_unfinished`` does."""
        with self._one_at_a_time:
            self._memory = self._read(session, self._memory)
            self._readings += 1
            return self._memory.unfinished

    def _read(self, session: Session, before: _Memory) -> _Memory:
        moving = _read_digests(session, _MOVING)
        lingering = before.lingering
        # Searched placement by placement. There are none, unless people have made them: where nothing else moved, none
        # has come.
        if lingering or moving != before.moving:
            lingering = _read_digests(session, _MOVING_LINGERING)
        names = sorted(moving.keys() | lingering.keys())
        digests = {name: moving.get(name, ()) + lingering.get(name, ()) for name in names}
        whole = _read_digests(session, _WHOLE_LINGERING if lingering else _WHOLE, self._turn(names))
        known = {name: before.parts.get(name, _Part()) for name in names}
        moved = {name for name, digest in digests.items() if known[name].moving != digest}
        doubted = {name for name, digest in whole.items() if known[name].whole != digest}
        if not moved and not doubted and known.keys() == before.parts.keys():
            return before
        runs = self._look(session, known, moved | doubted, doubted)
        parts = {
            name: _Part(digests[name], whole.get(name, part.whole), runs.get(name, part.runs))
            for name, part in known.items()
        }
        found = {stream_id: run for part in parts.values() for stream_id, (_, run) in (part.runs or {}).items()}
        return _Memory(moving, lingering, parts, Unfinished(tuple(found.values()), found.keys()))

    def _turn(self, names: Iterable[str]) -> list[str]:
        """Return the parts whose turn it is: all of them, where nothing is known."""
        turn = self._readings % TURNS
        return [name for name in names if not self._memory.parts or zlib.crc32(name.encode()) % TURNS == turn]

    def _look(
        self, session: Session, known: Mapping[str, _Part], names: Collection[str], doubted: Collection[str]
    ) -> dict[str, dict[StreamId, tuple[Mark, Run]]]:
        """Return the runs of these parts, read anew where a mark is another one, or all of the part is doubted."""
        marks = _read_marks(session, names)
        kept: dict[str, dict[StreamId, tuple[Mark, Run]]] = {name: {} for name in names}
        stale: list[StreamId] = []
        for name, found in marks.items():
            before = known[name].runs or {}
            for stream_id, mark in found.items():
                entry = before.get(stream_id) if name not in doubted else None
                if entry is not None and entry[0] == mark:
                    kept[name][stream_id] = entry
                else:
                    stale.append(stream_id)
        fresh = streams.load_runs(session, stale) if self._memory.parts else _load_all(session)
        for name, found in marks.items():
            kept[name] |= {i: (mark, fresh[i]) for i, mark in found.items() if i not in kept[name]}
        return kept

    def is_news(self, view: ProxyView) -> bool:
        """Say whether a proxy was seen otherwise than it was written last: by its sequence, not by bytes it sent."""
        return self._written.get(view.proxy_id) != _mark(view)

    def note_written(self, views: Iterable[ProxyView]) -> None:
        self._written |= {view.proxy_id: _mark(view) for view in views}


def _mark(view: ProxyView) -> Mark:
    return view.url, view.boot_id, view.sequence, view.freshness, view.is_draining, view.is_synced


def _load_all(session: Session) -> dict[StreamId, Run]:
    return {run.stream.id: run for run in streams.load_unfinished(session)}


def _read_digests(
    session: Session, queries: Iterable[Select[str, str]], names: Collection[str] | None = None
) -> dict[str, Digest]:
    """Return, by part, a digest of what each of these queries puts together; of all parts, or of those named."""
    found: defaultdict[str, Digest] = defaultdict(tuple)
    for query in queries:
        for some in [{}] if names is None else [{"names": part} for part in batches.parts(names)]:
            for name, text in session.execute(query, some):
                found[name] += (hashlib.blake2b(text.encode(), digest_size=16).digest(),)
    return dict(found)


def _read_marks(session: Session, names: Collection[str]) -> dict[str, dict[StreamId, Mark]]:
    """Return the marks of all runs of these parts."""
    placed: defaultdict[str, Mark] = defaultdict(tuple)
    marks: defaultdict[str, dict[StreamId, Mark]] = defaultdict(dict)
    for part in batches.parts(names):
        for stream_id, *mark in session.execute(_PLACEMENT_MARKS, {"names": part}):
            placed[stream_id] += tuple(mark)
        for name, stream_id, *mark in session.execute(_STREAM_MARKS, {"names": part}):
            marks[name][StreamId(stream_id)] = (*mark, *placed[stream_id])
    return marks


def _end(stream_id: ColumnElement[str]) -> ColumnElement[str]:
    return func.substr(stream_id, func.length(stream_id) - literal_column("1"))


def _joined(columns: Iterable[ColumnElement[Any]]) -> ColumnElement[str]:
    """Put all rows of a group into one text. Their order is the database's: another one is taken for a change."""
    nothing, between = literal_column("'\x1e'", Text), literal_column("'\x1f'", Text)
    text: ColumnElement[str] = literal_column("''", Text)
    for column in columns:
        text = text.concat(func.coalesce(cast(column, Text), nothing)).concat(between)
    return func.aggregate_strings(text, "\x1d")


def _digest(
    end: ColumnElement[str], columns: Iterable[ColumnElement[Any]], *conditions: ColumnElement[bool]
) -> Select[str, str]:
    return select(end, _joined(columns)).where(*conditions).group_by(end)


_STREAM_END, _PLACEMENT_END = _end(stream_rows.c.id), _end(placements.c.stream_id)
_NAMES: BindParameter[Sequence[str]] = bindparam("names", expanding=True)

# Two walks, each along an index of what is not history, cost less than one that has to put both together first.
_LINGERING = stream_rows.c.id.in_(select(placements.c.stream_id).where(streams.IS_NOT_GONE))
_IS_LINGERING = and_(not_(streams.IS_OPEN), _LINGERING)

_STREAM_MARK = (stream_rows.c.id, stream_rows.c.version, stream_rows.c.state, stream_rows.c.generation)
_PLACEMENT_MARK = (placements.c.stream_id, placements.c.generation, placements.c.state, placements.c.proxy_id)

_MOVING_LINGERING = (_digest(_STREAM_END, _STREAM_MARK, _IS_LINGERING),)
_MOVING = (
    _digest(_STREAM_END, _STREAM_MARK, streams.IS_OPEN),
    _digest(_PLACEMENT_END, _PLACEMENT_MARK, streams.IS_NOT_GONE),
)
_WHOLE = (
    _digest(_STREAM_END, stream_rows.c, streams.IS_OPEN, _STREAM_END.in_(_NAMES)),
    _digest(_PLACEMENT_END, placements.c, streams.IS_NOT_GONE, _PLACEMENT_END.in_(_NAMES)),
)
_WHOLE_LINGERING = (*_WHOLE, _digest(_STREAM_END, stream_rows.c, _IS_LINGERING, _STREAM_END.in_(_NAMES)))
_STREAM_MARKS: Select[Any] = select(_STREAM_END, *_STREAM_MARK).where(
    or_(streams.IS_OPEN, _IS_LINGERING), _STREAM_END.in_(_NAMES)
)
_PLACEMENT_MARKS: Select[Any] = (
    select(*_PLACEMENT_MARK).where(streams.IS_NOT_GONE, _PLACEMENT_END.in_(_NAMES)).order_by(placements.c.generation)
)
