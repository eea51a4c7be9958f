"""Approvals of plans by their digest: each lasts a quarter of an hour, counts once, and is kept as history."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import Session

from controller.domain.breaker import APPROVAL_LASTS
from controller.store import batches, cursors, dialects
from controller.store.cursors import Page
from controller.store.tables import approvals


@dataclass(frozen=True, slots=True)
class Approval:
    id: int
    digest: str
    owner: str
    why: str
    at: datetime
    expires_at: datetime
    used_at: datetime | None


def give(session: Session, digest: str, *, owner: str, why: str) -> Approval:
    """Write an approval, from now on by the database's clock; return it."""
    now = dialects.db_now(session)
    expires_at = now + APPROVAL_LASTS
    values = {"digest": digest, "owner": owner, "why": why, "at": now, "expires_at": expires_at}
    row_id: int = session.execute(insert(approvals).values(values).returning(approvals.c.id)).scalar_one()
    return Approval(row_id, digest, owner, why, now, expires_at, None)


def load_valid(session: Session, now: datetime) -> frozenset[str]:
    """Load the digests that are approved now."""
    query = select(approvals.c.digest).where(approvals.c.used_at.is_(None), approvals.c.expires_at > now)
    return frozenset(session.execute(query).scalars())


def use(session: Session, digest: str, *, now: datetime) -> bool:
    """Use up what was approved by this digest; return whether anything was."""
    valid = (approvals.c.digest == digest) & approvals.c.used_at.is_(None) & (approvals.c.expires_at > now)
    used: Any = session.execute(update(approvals).where(valid).values(used_at=now))
    return bool(used.rowcount)


def page(session: Session, *, cursor: str | None = None, limit: int = 100) -> Page[Approval]:
    """List approvals, newest first. Raises InvalidError for a cursor that cannot be read."""
    return cursors.page_by_id(session, select(approvals), approvals, _approval_from, cursor=cursor, limit=limit)


def prune(session: Session, *, before: datetime, keep_max: int, limit: int = 1000) -> int:
    """Delete the oldest: those before a time and those beyond ``keep_max``, at most ``limit``; return how many."""
    return batches.prune_by_id(session, approvals, approvals.c.at, before=before, keep_max=keep_max, limit=limit)


def _approval_from(row: Row[Any]) -> Approval:
    return Approval(row.id, row.digest, row.owner, row.why, row.at, row.expires_at, row.used_at)
