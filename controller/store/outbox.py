"""Commands that wait for their proxy: written with the decision, sent after the commit, kept until they are settled.

At least once, in order per stream and proxy: a later command is not due while an earlier one waits. The outbox makes
repairs fast; what it loses, the control loop finds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from controller.domain.model import Command, CommandKind, Key, PlacementState, ProxyId, StreamId
from controller.domain.observation import StuckCommand
from controller.store import batches, bulk, dialects, rows
from controller.store.tables import outbox, placements

_IS_PENDING = outbox.c.settled_at.is_(None)

STUCK_ATTEMPTS = 5
"""A command that was sent this often without an answer is told of."""

OVERTAKEN = "overtaken"
"""The outcome of a command that was settled without being sent, because a later one says more."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A command in the outbox."""

    id: int
    command: Command
    created_at: datetime
    not_before: datetime
    attempts: int
    """How often it has been sent without an answer."""
    error: str
    """Why the last attempt failed."""


@dataclass(frozen=True, slots=True)
class Backlog:
    count: int
    oldest_at: datetime | None


def add(session: Session, commands: Sequence[Command], *, now: datetime) -> None:
    """Queue commands: those of runs' changes, and stops of sessions that nobody asked for."""
    bulk.execute(session, _INSERT, [rows.command_values(command, now) for command in commands])


def due(session: Session, now: datetime, limit: int, proxy_id: ProxyId | None = None) -> tuple[Pending, ...]:
    """Return the commands to be sent now (to one proxy), oldest first: of every stream and proxy only its first."""
    found = session.execute(_DUE[proxy_id is not None], {"now": now, "proxy": proxy_id, "most": limit})
    return tuple(
        Pending(row.id, rows.command_from(row), row.created_at, row.not_before, row.attempts, row.error)
        for row in found
    )


def _due(*conditions: ColumnElement[bool]) -> Select[Any]:
    first = select(func.min(outbox.c.id)).where(_IS_PENDING, *conditions)
    is_first = outbox.c.id.in_(first.group_by(outbox.c.stream_id, outbox.c.proxy_id))
    query = select(outbox).where(is_first, outbox.c.not_before <= bindparam("now", type_=outbox.c.not_before.type))
    return query.order_by(outbox.c.id).limit(bindparam("most", type_=Integer))


_DUE = {False: _due(), True: _due(outbox.c.proxy_id == bindparam("proxy"))}
"""Of all proxies, and of one. Asked every second for each proxy: built once."""


def read_due(session: Session, limit: int, proxy_id: ProxyId) -> tuple[datetime, tuple[Pending, ...]]:
    """Return the database's time, and what is due for one proxy at it."""
    now = dialects.db_now(session)
    return now, due(session, now, limit, proxy_id)


def settle(session: Session, outcomes: Mapping[int, str], *, now: datetime) -> None:
    """Take commands off the queue, by id: they were answered. The rows stay for a while, as history."""
    values = [{"settled_id": i, "at": now, "how": how} for i, how in outcomes.items()]
    bulk.execute(session, _SETTLE, values)


def postpone(session: Session, again: Sequence[tuple[Pending, datetime, str]]) -> None:
    """Send commands again, not before a time, because of an error: their result is unknown."""
    values = [
        {"postponed_id": pending.id, "tried": pending.attempts + 1, "earliest": earliest, "why_not": error}
        for pending, earliest, error in again
    ]
    bulk.execute(session, _POSTPONE, values)


_INSERT = insert(outbox)
_SETTLE = (
    update(outbox)
    .where(outbox.c.id == bindparam("settled_id"), _IS_PENDING)
    .values(settled_at=bindparam("at"), outcome=bindparam("how"))
)
_POSTPONE = (
    update(outbox)
    .where(outbox.c.id == bindparam("postponed_id"), _IS_PENDING)
    .values(attempts=bindparam("tried"), not_before=bindparam("earliest"), error=bindparam("why_not"))
)


def drop_overtaken(session: Session, *, now: datetime) -> int:
    """Settle what need not be sent any more; return how many.

    That is a command with a later one of its kind for the same placement, one whose placement is gone, and an
    ``ensure`` whose placement is no longer wanted.
    """
    # Ids first: SQLite would otherwise see the rows change under the question.
    doomed = session.execute(_OVERTAKEN).scalars().all()
    for part in batches.parts(doomed):
        session.execute(update(outbox).where(outbox.c.id.in_(part)).values(settled_at=now, outcome=OVERTAKEN))
    return len(doomed)


def _overtaken() -> Select[Any]:
    later = outbox.alias("later")
    repeated = select(later.c.id).where(
        later.c.settled_at.is_(None),
        later.c.id > outbox.c.id,
        later.c.stream_id == outbox.c.stream_id,
        later.c.generation == outbox.c.generation,
        later.c.proxy_id == outbox.c.proxy_id,
        later.c.kind == outbox.c.kind,
    )
    placed = select(placements.c.stream_id).where(
        placements.c.stream_id == outbox.c.stream_id, placements.c.generation == outbox.c.generation
    )
    is_gone = placed.where(placements.c.state == PlacementState.GONE).exists()
    is_unwanted = placed.where(placements.c.state == PlacementState.STOPPING).exists()
    is_idle = and_(outbox.c.kind == CommandKind.ENSURE, is_unwanted)
    return select(outbox.c.id).where(_IS_PENDING, or_(repeated.exists(), is_gone, is_idle))


_OVERTAKEN = _overtaken()


def pending(session: Session, keys: Collection[Key] | None = None) -> frozenset[tuple[StreamId, int, ProxyId]]:
    """Return (stream, generation, proxy) of every command that waits, or of those about these keys."""
    found: set[tuple[StreamId, int, ProxyId]] = set()
    for condition in _about(keys):
        columns = (outbox.c.stream_id, outbox.c.generation, outbox.c.proxy_id)
        rows_found = session.execute(select(*columns).where(_IS_PENDING, condition).distinct())
        found.update((StreamId(row.stream_id), row.generation, ProxyId(row.proxy_id)) for row in rows_found)
    return frozenset(found)


def stuck(session: Session, keys: Collection[Key] | None = None) -> tuple[StuckCommand, ...]:
    """Return the commands that wait (about these keys) and were sent at least ``STUCK_ATTEMPTS`` times."""
    return tuple(
        StuckCommand(
            key=Key(row.key),
            stream_id=StreamId(row.stream_id),
            generation=row.generation,
            proxy_id=ProxyId(row.proxy_id),
            kind=CommandKind(row.kind),
            attempts=row.attempts,
            error=row.error,
        )
        for condition in _about(keys)
        for row in session.execute(
            select(outbox).where(_IS_PENDING, outbox.c.attempts >= STUCK_ATTEMPTS, condition).order_by(outbox.c.id)
        )
    )


def backlog(session: Session) -> Backlog:
    """Tell how many commands wait, and since when."""
    query = select(func.count(), func.min(outbox.c.created_at)).where(_IS_PENDING)
    count, oldest_at = session.execute(query).one()
    return Backlog(count, oldest_at)


def prune(session: Session, *, settled_before: datetime, limit: int = 1000) -> int:
    """Delete commands settled before a time, at most ``limit``; return how many."""
    old = select(outbox.c.id).where(outbox.c.settled_at < settled_before).order_by(outbox.c.settled_at).limit(limit)
    doomed = session.execute(old).scalars().all()
    for part in batches.parts(doomed):
        session.execute(delete(outbox).where(outbox.c.id.in_(part)))
    return len(doomed)


def _about(keys: Collection[Key] | None) -> list[ColumnElement[bool]]:
    if keys is None:
        return [_IS_PENDING]
    return [outbox.c.key.in_(part) for part in batches.parts(keys)]
