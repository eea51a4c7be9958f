"""Pages of long lists, and where one ended: opaque text that the next request hands back."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Row, Select, Table
from sqlalchemy.orm import Session

from controller.errors import InvalidError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    next_cursor: str | None
    """None when nothing follows."""


def page_by_id(
    session: Session,
    query: Select[Any],
    table: Table,
    build: Callable[[Row[Any]], T],
    *,
    cursor: str | None,
    limit: int,
) -> Page[T]:
    """Read one page of a table with a rising id, newest first.

    Raises:
        InvalidError: the cursor cannot be read.
    """
    if cursor is not None:
        query = query.where(table.c.id < _decode_id(cursor))
    found = session.execute(query.order_by(table.c.id.desc()).limit(limit + 1)).all()
    next_cursor = str(found[limit - 1].id) if len(found) > limit else None
    return Page(tuple(build(row) for row in found[:limit]), next_cursor)


def encode(at: datetime, row_id: str) -> str:
    """Name a row by its time and id."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), row_id]).encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """Read what ``encode`` wrote.

    Raises:
        InvalidError: it is no cursor of ours.
    """
    try:
        at, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(at)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidError(_UNREADABLE) from error
    if moment.tzinfo is None or not isinstance(row_id, str):
        raise InvalidError(_UNREADABLE)
    return moment, row_id


def _decode_id(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise InvalidError(_UNREADABLE)
    return int(cursor)


_UNREADABLE = "this cursor cannot be read"
