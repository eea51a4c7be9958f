"""Processes of sources: their highest births, and which of them lives."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.orm import Session

from controller.domain.model import SourceId
from controller.domain.processes import Known, Latest, Name, Process
from controller.store import batches, dialects
from controller.store.tables import processes

OF_SOURCE_MAX: Final = 100
"""Processes of one source that are kept, the newest: one that restarts every second has a lot of them."""


def load(session: Session, names: Collection[Name]) -> Known:
    """Load the processes of (source, boot), where they are known, and who of their sources came online last."""
    found: dict[Name, Process] = {}
    latest: dict[SourceId, Latest] = {}
    for part in batches.parts(names):
        query = select(processes).where(tuple_(processes.c.source_id, processes.c.boot_id).in_(part))
        for row in session.execute(query):
            found[SourceId(row.source_id), row.boot_id] = Process(row.birth_seq, row.turn)
    for sources in batches.parts(source_id for source_id, _ in names):
        highest = (
            select(processes.c.source_id, func.max(processes.c.turn))
            .where(processes.c.source_id.in_(sources), processes.c.turn.is_not(None))
            .group_by(processes.c.source_id)
        )
        query = select(processes).where(tuple_(processes.c.source_id, processes.c.turn).in_(highest))
        latest |= {SourceId(row.source_id): Latest(row.turn, row.boot_id) for row in session.execute(query)}
    return Known(found, latest)


def save(session: Session, changed: Mapping[Name, Process], *, now: datetime) -> None:
    values = [
        {
            "source_id": source_id,
            "boot_id": boot_id,
            "birth_seq": process.birth_seq,
            "turn": process.turn,
            "seen_at": now,
        }
        for (source_id, boot_id), process in changed.items()
    ]
    dialects.upsert(session, processes, values)


def prune(session: Session, *, seen_before: datetime, limit: int = 1000) -> int:
    """Delete processes that said nothing new since a time, and those beyond the newest of their source.

    The one that lives is kept. At most ``limit``; returns how many.
    """
    of_source = processes.c.source_id
    ranked = select(
        processes,
        func.row_number().over(partition_by=of_source, order_by=processes.c.seen_at.desc()).label("place"),
        func.max(processes.c.turn).over(partition_by=of_source).label("latest"),
    ).subquery()
    too_many = or_(ranked.c.seen_at < seen_before, ranked.c.place > OF_SOURCE_MAX)
    is_dead = or_(ranked.c.turn.is_(None), ranked.c.turn < ranked.c.latest)
    old = select(ranked.c.source_id, ranked.c.boot_id).where(too_many, is_dead).order_by(ranked.c.seen_at).limit(limit)
    doomed = [(row.source_id, row.boot_id) for row in session.execute(old)]
    for part in batches.parts(doomed):
        session.execute(delete(processes).where(tuple_(processes.c.source_id, processes.c.boot_id).in_(part)))
    return len(doomed)
