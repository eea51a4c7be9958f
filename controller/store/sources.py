"""Sources: who publishes, whether it is online and answers, which birth was counted last."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from controller.domain.model import Source, SourceId
from controller.store import batches, dialects
from controller.store.tables import sources


def load(session: Session, source_ids: Collection[SourceId]) -> dict[SourceId, Source]:
    """Load sources by id. Unknown ids are absent from the answer."""
    found: dict[SourceId, Source] = {}
    for part in batches.parts(source_ids):
        for row in session.execute(select(sources).where(sources.c.id.in_(part))):
            found[SourceId(row.id)] = _source_from(row)
    return found


def load_all(session: Session) -> tuple[Source, ...]:
    return tuple(_source_from(row) for row in session.execute(select(sources).order_by(sources.c.id)))


def load_silent(session: Session) -> tuple[Source, ...]:
    """Load the sources that are connected and do not answer."""
    query = select(sources).where(sources.c.silent_since.is_not(None)).order_by(sources.c.id)
    return tuple(_source_from(row) for row in session.execute(query))


def save(session: Session, changed: Iterable[Source]) -> None:
    values = [
        {
            "id": source.id,
            "boot_id": source.boot_id,
            "is_online": source.is_online,
            "since": source.since,
            "seen_at": source.seen_at,
            "birth_boot_id": source.birth_boot_id,
            "birth_seq": source.birth_seq,
            "birth_at": source.birth_at,
            "answers_births": source.answers_births,
            "silent_since": source.silent_since,
        }
        for source in changed
    ]
    dialects.upsert(session, sources, values)


def _source_from(row: Row[Any]) -> Source:
    return Source(
        id=SourceId(row.id),
        boot_id=row.boot_id,
        is_online=row.is_online,
        since=row.since,
        seen_at=row.seen_at,
        birth_boot_id=row.birth_boot_id,
        birth_seq=row.birth_seq,
        birth_at=row.birth_at,
        answers_births=row.answers_births,
        silent_since=row.silent_since,
    )
