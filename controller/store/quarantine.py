"""Messages that could not be read: kept to be looked at, for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import Session

from controller.domain.events import MessageRefused
from controller.store import batches, cursors
from controller.store.cursors import Page
from controller.store.tables import quarantine


@dataclass(frozen=True, slots=True)
class Refusal:
    id: int
    at: datetime
    message: MessageRefused


def add(session: Session, refused: Sequence[MessageRefused], *, now: datetime) -> None:
    values = [
        {
            "at": now,
            "topic": message.topic,
            "payload_head": message.payload_head,
            "payload_bytes": message.payload_bytes,
            "reason": message.reason,
        }
        for message in refused
    ]
    if values:
        session.execute(insert(quarantine), values)


def page(session: Session, *, cursor: str | None = None, limit: int = 100) -> Page[Refusal]:
    """List what was refused, newest first. Raises InvalidError for a cursor that cannot be read."""
    return cursors.page_by_id(session, select(quarantine), quarantine, _refusal_from, cursor=cursor, limit=limit)


def count(session: Session) -> int:
    return session.execute(select(func.count()).select_from(quarantine)).scalar_one()


def prune(session: Session, *, before: datetime, keep_max: int, limit: int = 1000) -> int:
    """Delete the oldest: those before a time and those beyond ``keep_max``, at most ``limit``; return how many."""
    return batches.prune_by_id(session, quarantine, quarantine.c.at, before=before, keep_max=keep_max, limit=limit)


def _refusal_from(row: Row[Any]) -> Refusal:
    message = MessageRefused(row.topic, bytes(row.payload_head), row.payload_bytes, row.reason)
    return Refusal(row.id, row.at, message)
