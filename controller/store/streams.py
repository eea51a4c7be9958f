"""Runs of keys with their placements: load, save, find, page.

Whoever loads a run and saves its change in one transaction is alone. Whoever decided on an earlier reading, as the
control loop does, asks for ``versions`` first and leaves out what has moved meanwhile.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.orm import Session

from controller.domain.controls import Controls
from controller.domain.model import Change, Key, PlacementState, Run, SourceId, State, Stream, StreamId
from controller.domain.observation import Desired
from controller.errors import StaleWriteError
from controller.store import (
    approvals,
    batches,
    blocks,
    breaker,
    bulk,
    controls,
    cursors,
    dialects,
    drift,
    outbox,
    rows,
    sources,
)
from controller.store.cursors import Page
from controller.store.tables import placements, streams, transitions

# Load


def load_runs(session: Session, stream_ids: Collection[StreamId]) -> dict[StreamId, Run]:
    """Load runs by id. Unknown ids are absent from the answer."""
    return {run.stream.id: run for run in _load_where(session, streams.c.id, stream_ids)}


def load_latest(session: Session, keys: Collection[Key]) -> dict[Key, Run]:
    """Load the newest run of each key, whatever its state."""
    runs: list[Run] = []
    for part in batches.parts(keys):
        runs += _load(session, _LATEST, {"values": part})
    return {run.stream.key: run for run in runs}


def load_by_source(session: Session, source_ids: Collection[SourceId]) -> dict[StreamId, Run]:
    """Load every run of these sources that has not ended."""
    return {run.stream.id: run for run in _load_where(session, streams.c.source_id, source_ids, _IS_ACTIVE)}


def load_unfinished(session: Session) -> list[Run]:
    """Load every run that is not CLOSED or has a placement that is not gone."""
    found = [rows.stream_from(row) for row in session.execute(_UNFINISHED).all()]
    return _join(found, session.execute(_PLACED).all())


def desired(
    session: Session,
    session_stream_ids: Collection[StreamId] = (),
    keys: Collection[Key] | None = None,
    *,
    unfinished: tuple[Run, ...] | None = None,
) -> Desired:
    """Read all that the database wishes, or, with ``keys``, all that it wishes of these keys.

    ``closed`` answers for those of ``session_stream_ids`` whose run is CLOSED. ``unfinished`` are all unfinished runs,
    when they were read already in this transaction.
    """
    if keys is not None:
        runs = tuple(_load_where(session, streams.c.key, keys, IS_UNFINISHED))
    else:
        runs = tuple(load_unfinished(session)) if unfinished is None else unfinished
    others: Mapping[StreamId, Run] = {}
    if session_stream_ids:
        others = load_runs(session, set(session_stream_ids).difference(run.stream.id for run in runs))
    return Desired(
        runs=runs,
        closed=MappingProxyType({stream_id: run.stream for stream_id, run in others.items() if _is_closed(run.stream)}),
        drifts=MappingProxyType(drift.load_open(session, keys)),
        pending=outbox.pending(session, keys),
        stuck=outbox.stuck(session, keys),
        silent=sources.load_silent(session) if keys is None else (),
        controls=Controls(controls.load_now(session)),
        breaker=breaker.load(session),
        approvals=approvals.load_valid(session, dialects.db_now(session)),
        keys=None if keys is None else frozenset(keys),
    )


def count_closed_since(session: Session, since: datetime) -> int:
    """Count the runs that were CLOSED at or after a time."""
    query = select(func.count()).select_from(streams).where(streams.c.closed_at >= since)
    found: int = session.execute(query).scalar_one()
    return found


def versions(session: Session, stream_ids: Collection[StreamId]) -> dict[StreamId, int]:
    """Return the version each of these streams is at."""
    found: dict[StreamId, int] = {}
    for part in batches.parts(stream_ids):
        query = select(streams.c.id, streams.c.version).where(streams.c.id.in_(part))
        found.update((StreamId(row.id), row.version) for row in session.execute(query))
    return found


def find(session: Session, key_or_id: str) -> Run | None:
    """Find a run by its id, or the newest run of a key."""
    by_id = load_runs(session, [StreamId(key_or_id)])
    if by_id:
        return by_id[StreamId(key_or_id)]
    return load_latest(session, [Key(key_or_id)]).get(Key(key_or_id))


def page(
    session: Session,
    *,
    states: Collection[State] = (),
    key: str | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Run]:
    """List runs, newest first. Without ``states`` and ``key``: those that are not CLOSED.

    Raises:
        InvalidError: the cursor cannot be read.
    """
    query = select(streams).order_by(streams.c.created_at.desc(), streams.c.id.desc()).limit(limit + 1)
    if states:
        query = query.where(streams.c.state.in_(states))
    elif key is None:
        query = query.where(IS_OPEN)
    if key is not None:
        query = query.where(streams.c.key == key)
    for name, value in labels.items():
        query = query.where(dialects.has_item(session, streams.c.labels, name, value))
    if cursor is not None:
        at, last_id = cursors.decode(cursor)
        query = query.where(tuple_(streams.c.created_at, streams.c.id) < (at, str(last_id)))
    runs = _load(session, query)
    last = runs[limit - 1].stream if len(runs) > limit else None
    return Page(tuple(runs[:limit]), cursors.encode(last.created_at, last.id) if last else None)


def count_by_state(session: Session) -> dict[State, int]:
    """Count the runs in every state but CLOSED, whose number says only how much history is kept."""
    query = select(streams.c.state, func.count()).where(IS_OPEN).group_by(streams.c.state)
    counted = {State(state): count for state, count in session.execute(query)}
    return {state: counted.get(state, 0) for state in State if state is not State.CLOSED}


# Save


def save(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Write everything these changes say. A run's version rises by one.

    Raises:
        StaleWriteError: a run was saved by somebody else since it was loaded; nothing of this call may be kept.
    """
    _update_streams(session, [change.run.stream for change in changes if not change.is_new])
    bulk.execute(session, _INSERT_STREAMS, [_raised(change.run.stream) for change in changes if change.is_new])
    dialects.upsert(session, placements, [rows.placement_values(p) for change in changes for p in change.placements])
    bulk.execute(session, _INSERT_TRANSITIONS, [rows.transition_values(t) for c in changes for t in c.transitions])
    blocks.add(session, [change.block for change in changes if change.block is not None])
    outbox.add(session, [command for change in changes for command in change.commands], now=now)


def prune(session: Session, *, closed_before: datetime, forgotten_before: datetime, limit: int = 1000) -> int:
    """Delete runs closed before a time; the last run of a key, which holds its fence and its order, only much later.

    Returns how many were deleted: at most ``limit``, so that one call stays short.
    """
    newer = streams.alias("newer")
    is_superseded = select(newer.c.id).where(newer.c.key == streams.c.key, newer.c.epoch > streams.c.epoch).exists()
    is_old = and_(streams.c.closed_at < closed_before, or_(is_superseded, streams.c.closed_at < forgotten_before))
    oldest = select(streams.c.id).where(is_old).order_by(streams.c.closed_at).limit(limit)
    doomed = session.execute(oldest).scalars().all()
    for part in batches.parts(doomed):
        session.execute(delete(streams).where(streams.c.id.in_(part)))
    return len(doomed)


def _update_streams(session: Session, changed: Sequence[Stream]) -> None:
    if not changed:
        return
    values = [_raised(stream) | {"old_version": stream.version} for stream in changed]
    if bulk.execute(session, _UPDATE, values) != len(changed):
        raise _find_stale(session, changed)


def _find_stale(session: Session, changed: Sequence[Stream]) -> StaleWriteError:
    """Name the first run that somebody else saved; look at what was there before this transaction."""
    session.rollback()
    kept = load_runs(session, [stream.id for stream in changed])
    stale = (s for s in changed if s.id not in kept or kept[s.id].stream.version != s.version)
    stream = next(stale, changed[0])
    return StaleWriteError(stream.id, stream.version)


def _raised(stream: Stream) -> rows.Values:
    return rows.stream_values(stream) | {"version": stream.version + 1}


def _is_closed(stream: Stream) -> bool:
    return stream.state is State.CLOSED


# Queries

# Written out, not bound: a planner that does not see the word does not know that a partial index answers.
IS_OPEN = streams.c.state != literal(State.CLOSED.value, literal_execute=True)
_IS_ACTIVE = and_(IS_OPEN, streams.c.state != State.ENDED)
IS_NOT_GONE = placements.c.state != literal(PlacementState.GONE.value, literal_execute=True)
IS_UNFINISHED = or_(
    IS_OPEN, select(placements.c.stream_id).where(placements.c.stream_id == streams.c.id, IS_NOT_GONE).exists()
)

# The same for all keys, as two index scans: most rows are history.
_UNFINISHED_IDS = union(select(streams.c.id).where(IS_OPEN), select(placements.c.stream_id).where(IS_NOT_GONE))
_UNFINISHED = select(streams).where(streams.c.id.in_(_UNFINISHED_IDS))

_LATEST = select(streams).where(
    tuple_(streams.c.key, streams.c.epoch).in_(
        select(streams.c.key, func.max(streams.c.epoch))
        .where(streams.c.key.in_(bindparam("values", expanding=True)))
        .group_by(streams.c.key)
    )
)

_PLACED = select(placements).where(IS_NOT_GONE).order_by(placements.c.generation)
_PLACED_OF = _PLACED.where(placements.c.stream_id.in_(bindparam("values", expanding=True)))

# A run's key, source, epoch and birth never change.
_UPDATE = (
    update(streams)
    .where(streams.c.id == bindparam("id"), streams.c.version == bindparam("old_version"))
    .values({
        column: bindparam(column.name)
        for column in streams.c
        if column.name not in ("id", "key", "source_id", "epoch", "created_at")
    })
)  # fmt: skip
_INSERT_STREAMS = insert(streams)
_INSERT_TRANSITIONS = insert(transitions)


def _load_where(
    session: Session, column: ColumnElement[Any], values: Collection[str], *conditions: ColumnElement[bool]
) -> list[Run]:
    query = select(streams).where(column.in_(bindparam("values", expanding=True)), *conditions)
    runs: list[Run] = []
    for part in batches.parts(values):
        runs += _load(session, query, {"values": part})
    return runs


def _load(session: Session, query: Select[Any], parameters: Mapping[str, Any] = MappingProxyType({})) -> list[Run]:
    found = [rows.stream_from(row) for row in session.execute(query, parameters).all()]
    placed = [
        row
        for part in batches.parts(stream.id for stream in found)
        for row in session.execute(_PLACED_OF, {"values": part}).all()
    ]
    return _join(found, placed)


def _join(found: Iterable[Stream], placed: Iterable[Row[Any]]) -> list[Run]:
    by_stream = defaultdict(list)
    for row in placed:
        by_stream[row.stream_id].append(rows.placement_from(row))
    return [Run(stream, tuple(by_stream[stream.id])) for stream in found]
