"""Transitions: the append-only history of all runs, numbered in the order of commits."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Row, bindparam, func, select
from sqlalchemy.orm import Session

from controller.domain import mass_end
from controller.domain.machine import Event
from controller.domain.model import StreamId, Transition
from controller.store import batches, cursors, rows
from controller.store.cursors import Page
from controller.store.tables import transitions


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    transition: Transition


def follow(
    session: Session, *, after_id: int = 0, stream_id: StreamId | None = None, limit: int = 500
) -> tuple[Entry, ...]:
    """Return what happened after an entry, oldest first. Nothing is ever committed below an id that was returned."""
    query = _AFTER if stream_id is None else _AFTER.where(transitions.c.stream_id == stream_id)
    return tuple(_entry_from(row) for row in session.execute(query, {"after": after_id, "most": limit}))


_AFTER = (
    select(transitions)
    .where(transitions.c.id > bindparam("after"))
    .order_by(transitions.c.id)
    .limit(bindparam("most", type_=Integer))
)


def page(
    session: Session, *, stream_id: StreamId | None = None, cursor: str | None = None, limit: int = 100
) -> Page[Entry]:
    """List what happened, newest first. Raises InvalidError for a cursor that cannot be read."""
    query = select(transitions)
    if stream_id is not None:
        query = query.where(transitions.c.stream_id == stream_id)
    return cursors.page_by_id(session, query, transitions, _entry_from, cursor=cursor, limit=limit)


def count_ends(session: Session, *, since: datetime, actors: Collection[str]) -> dict[str, int]:
    """Count the ends since a time, carried out or held, of each of these actors."""
    query = (
        select(transitions.c.actor, func.count())
        .where(transitions.c.at >= since, transitions.c.event.in_((Event.END.value, mass_end.HELD)))
        .group_by(transitions.c.actor)
    )
    return {actor: count for actor, count in session.execute(query) if actor in actors}


def last_id(session: Session) -> int:
    """Return the id to follow from, to see only what is still to come."""
    newest: int | None = session.execute(select(func.max(transitions.c.id))).scalar_one()
    return newest or 0


def prune(session: Session, *, before: datetime, keep_max: int, limit: int = 1000) -> int:
    """Delete the oldest: those before a time and those beyond ``keep_max``, at most ``limit``; return how many."""
    return batches.prune_by_id(session, transitions, transitions.c.at, before=before, keep_max=keep_max, limit=limit)


def _entry_from(row: Row[Any]) -> Entry:
    return Entry(row.id, rows.transition_from(row))
