"""Where a page of a list ended: opaque text that the next request hands back."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from controller.errors import InvalidError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    next_cursor: str | None
    """None when nothing follows."""


def encode(at: datetime, row_id: str | int) -> str:
    """Name a row by its time and id."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), row_id]).encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str | int]:
    """Read what ``encode`` wrote.

    Raises:
        InvalidError: it is no cursor of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, row_id = json.loads(base64.urlsafe_b64decode(padded))
        moment = datetime.fromisoformat(at)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidError("this cursor cannot be read") from error
    if moment.tzinfo is None or not isinstance(row_id, str | int):
        raise InvalidError("this cursor cannot be read")
    return moment, row_id
