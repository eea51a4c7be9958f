"""Statements about many values, and deletions in steps."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, delete, or_, select
from sqlalchemy.orm import Session

T = TypeVar("T")

VALUES_PER_STATEMENT = 400
"""How many values one IN may list. SQLite before 3.32 takes 999 in all, and a pair counts twice."""


def parts(values: Iterable[T], size: int = VALUES_PER_STATEMENT) -> Iterator[list[T]]:
    """Cut distinct values into portions that fit into one statement, in a steady order."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), size):
        yield distinct[start : start + size]


def prune_by_id(
    session: Session, table: Table, time: ColumnElement[datetime], *, before: datetime, keep_max: int, limit: int
) -> int:
    """Delete the oldest rows of a table with a rising id: those before a time, and those beyond ``keep_max``.

    At most ``limit``, so that one call stays short; returns how many.
    """
    nth = select(table.c.id).order_by(table.c.id.desc()).offset(keep_max).limit(1)
    beyond = session.execute(nth).scalar_one_or_none()
    is_old = time < before if beyond is None else or_(time < before, table.c.id <= beyond)
    doomed = session.execute(select(table.c.id).where(is_old).order_by(table.c.id).limit(limit)).scalars().all()
    for part in parts(doomed):
        session.execute(delete(table).where(table.c.id.in_(part)))
    return len(doomed)
