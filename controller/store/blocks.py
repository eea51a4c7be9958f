"""Keys that may not start again for a while, because what they played was a loop; and who tried."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.orm import Session

from controller.domain.model import Block, Key, Reason, SourceId, StreamId
from controller.store import batches, dialects
from controller.store.cursors import Page
from controller.store.tables import blocks


@dataclass(frozen=True, slots=True)
class KnownBlock:
    """A block, and the announcements that it has refused."""

    block: Block
    refused: int
    refused_at: datetime | None
    refused_source: SourceId | None


def add(session: Session, added: Sequence[Block]) -> None:
    """Write blocks; a newer one of the same key takes the place of the older."""
    values = [
        {
            "key": block.key,
            "stream_id": block.stream_id,
            "reason": block.reason,
            "detail": block.detail,
            "blocked_at": block.blocked_at,
            "expires_at": block.expires_at,
            "refused": 0,
            "refused_at": None,
            "refused_source": None,
        }
        for block in added
    ]
    dialects.upsert(session, blocks, values)


def load(session: Session, keys: Collection[Key], *, now: datetime) -> dict[Key, Block]:
    """Load the blocks of these keys that hold now."""
    found: dict[Key, Block] = {}
    for part in batches.parts(keys):
        query = select(blocks).where(blocks.c.key.in_(part), blocks.c.expires_at > now)
        found |= {Key(row.key): _block_from(row) for row in session.execute(query)}
    return found


def note_refused(session: Session, refused: Mapping[Key, tuple[SourceId, int]], *, now: datetime) -> None:
    """Count announcements that blocks have refused: of which source the last, and how many."""
    values = [{"of": key, "by": source_id, "more": count} for key, (source_id, count) in refused.items()]
    if values:
        session.execute(_NOTE.values(refused_at=now), values)


def page(session: Session, *, now: datetime, cursor: str | None = None, limit: int = 100) -> Page[KnownBlock]:
    """List the blocks that hold now, by key. The cursor is the last key of the page before."""
    query = select(blocks).where(blocks.c.expires_at > now).order_by(blocks.c.key).limit(limit + 1)
    if cursor is not None:
        query = query.where(blocks.c.key > cursor)
    found = session.execute(query).all()
    next_cursor = str(found[limit - 1].key) if len(found) > limit else None
    return Page(tuple(_known_from(row) for row in found[:limit]), next_cursor)


def page_now(session: Session, *, cursor: str | None = None, limit: int = 100) -> Page[KnownBlock]:
    """List the blocks that hold at the database's time."""
    return page(session, now=dialects.db_now(session), cursor=cursor, limit=limit)


def remove(session: Session, key: Key) -> KnownBlock | None:
    """Let a key start again; return what held it, or None when nothing did."""
    row = session.execute(select(blocks).where(blocks.c.key == key)).one_or_none()
    if row is None:
        return None
    session.execute(delete(blocks).where(blocks.c.key == key))
    return _known_from(row)


def prune(session: Session, *, expired_before: datetime, limit: int = 1000) -> int:
    """Delete blocks that have expired, at most ``limit``; return how many."""
    old = select(blocks.c.key).where(blocks.c.expires_at <= expired_before).limit(limit)
    doomed = session.execute(old).scalars().all()
    for part in batches.parts(doomed):
        session.execute(delete(blocks).where(blocks.c.key.in_(part)))
    return len(doomed)


_NOTE = (
    update(blocks)
    .where(blocks.c.key == bindparam("of"))
    .values(refused=blocks.c.refused + bindparam("more"), refused_source=bindparam("by"))
)


def _block_from(row: Row[Any]) -> Block:
    return Block(
        key=Key(row.key),
        stream_id=StreamId(row.stream_id),
        reason=Reason(row.reason),
        detail=row.detail,
        blocked_at=row.blocked_at,
        expires_at=row.expires_at,
    )


def _known_from(row: Row[Any]) -> KnownBlock:
    source_id = None if row.refused_source is None else SourceId(row.refused_source)
    return KnownBlock(_block_from(row), row.refused, row.refused_at, source_id)
