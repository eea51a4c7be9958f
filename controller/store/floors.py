"""Floors: the highest epoch of a key that its source has ended."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from controller.domain.model import Floor, Key, SourceId
from controller.store import batches, dialects
from controller.store.tables import floors


def load(session: Session, names: Collection[tuple[SourceId, Key]]) -> dict[tuple[SourceId, Key], Floor]:
    """Load the floors of (source, key), where there are any."""
    found: dict[tuple[SourceId, Key], Floor] = {}
    for part in batches.parts(names):
        query = select(floors).where(tuple_(floors.c.source_id, floors.c.key).in_(part))
        for row in session.execute(query):
            found[SourceId(row.source_id), Key(row.key)] = Floor(row.epoch, row.boot_id)
    return found


def save(session: Session, raised: Mapping[tuple[SourceId, Key], Floor], *, now: datetime) -> None:
    """Write floors. One that is lower than what is there changes nothing."""
    values = [
        {"source_id": source_id, "key": key, "epoch": floor.epoch, "boot_id": floor.boot_id, "at": now}
        for (source_id, key), floor in raised.items()
    ]
    dialects.upsert(session, floors, values, newer="epoch")


def prune(session: Session, *, raised_before: datetime, limit: int = 1000) -> int:
    """Delete floors raised before a time, at most ``limit``; return how many."""
    old = select(floors.c.source_id, floors.c.key).where(floors.c.at < raised_before).order_by(floors.c.at).limit(limit)
    doomed = [(row.source_id, row.key) for row in session.execute(old)]
    for part in batches.parts(doomed):
        session.execute(delete(floors).where(tuple_(floors.c.source_id, floors.c.key).in_(part)))
    return len(doomed)
