"""Drifts from first seen to repaired: one row each."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from controller.domain.model import Key, ProxyId, StreamId
from controller.domain.observation import DriftKey, DriftSeen
from controller.domain.plan import Action, Drift, DriftClass, DriftKind, Verb
from controller.store import batches, cursors, rows
from controller.store.cursors import Page
from controller.store.tables import drift

_IS_OPEN = drift.c.repaired_at.is_(None)


@dataclass(frozen=True, slots=True)
class KnownDrift:
    """A drift, what was done about it, and since when."""

    id: int
    drift: Drift
    drift_class: DriftClass
    action: Verb
    gate: str
    """What holds the action back; empty when nothing does."""
    first_seen: datetime
    last_seen: datetime
    looks: int
    repaired_at: datetime | None


@dataclass(frozen=True, slots=True)
class DriftNews:
    """What a cycle saw that the one before did not."""

    opened: tuple[Drift, ...] = ()
    repaired: tuple[KnownDrift, ...] = ()
    changed: frozenset[DriftKey] = frozenset()
    """Drifts that are answered otherwise than they were, or held by another gate; the opened ones among them."""


def load_open(session: Session, keys: Collection[Key] | None = None) -> dict[DriftKey, DriftSeen]:
    """Load what earlier cycles saw and no cycle has seen repaired."""
    return {known.drift.drift_key: DriftSeen(known.first_seen, known.looks) for known in _open(session, keys)}


def sync(
    session: Session,
    actions: Iterable[Action],
    *,
    now: datetime,
    keys: Collection[Key] | None = None,
    unseen: Collection[ProxyId] = (),
) -> DriftNews:
    """Bring the table in line with what a cycle saw: open what is new, count what is still there, close the rest.

    ``keys`` are those the cycle looked at (None: all); ``unseen`` are the proxies it could not look at, whose drifts
    stay open: unknown is not repaired.
    """
    seen = {action.drift.drift_key: (action, action.drift) for action in actions if action.drift is not None}
    known = {entry.drift.drift_key: entry for entry in _open(session, keys)}
    opened = [_opened_values(action, found, now) for key, (action, found) in seen.items() if key not in known]
    again = [_again_values(known[key], action, found, now) for key, (action, found) in seen.items() if key in known]
    repaired = [entry for key, entry in known.items() if key not in seen and _was_looked_at(entry, unseen)]
    if opened:
        session.execute(insert(drift), opened)
    if again:
        session.execute(_AGAIN, again)
    for part in batches.parts(entry.id for entry in repaired):
        session.execute(update(drift).where(drift.c.id.in_(part)).values(repaired_at=now))
    new = tuple(found for key, (_, found) in seen.items() if key not in known)
    changed = (key for key, (action, _) in seen.items() if _answer(known.get(key)) != (action.verb, action.gate))
    return DriftNews(new, tuple(repaired), frozenset(changed))


def page(
    session: Session,
    *,
    open_only: bool = True,
    stream_id: StreamId | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[KnownDrift]:
    """List drifts, newest first. Raises InvalidError for a cursor that cannot be read."""
    query = select(drift)
    if open_only:
        query = query.where(_IS_OPEN)
    if stream_id is not None:
        query = query.where(drift.c.stream_id == stream_id)
    return cursors.page_by_id(session, query, drift, _drift_from, cursor=cursor, limit=limit)


def prune(session: Session, *, repaired_before: datetime, limit: int = 1000) -> int:
    """Delete drifts repaired before a time, at most ``limit``; return how many. Open ones stay."""
    old = select(drift.c.id).where(drift.c.repaired_at < repaired_before).order_by(drift.c.repaired_at).limit(limit)
    doomed = session.execute(old).scalars().all()
    for part in batches.parts(doomed):
        session.execute(delete(drift).where(drift.c.id.in_(part)))
    return len(doomed)


def _open(session: Session, keys: Collection[Key] | None) -> list[KnownDrift]:
    conditions: list[ColumnElement[bool]] = [_IS_OPEN]
    if keys is not None:
        conditions = [drift.c.key.in_(part) for part in batches.parts(keys)]
    return [
        _drift_from(row)
        for condition in conditions
        for row in session.execute(select(drift).where(_IS_OPEN, condition).order_by(drift.c.id))
    ]


def _answer(known: KnownDrift | None) -> tuple[Verb, str] | None:
    return (known.action, known.gate) if known is not None else None


def _was_looked_at(entry: KnownDrift, unseen: Collection[ProxyId]) -> bool:
    # A lost proxy's drift is over once its streams were moved, whether or not it ever comes back.
    return entry.drift.kind is DriftKind.PROXY_LOST or entry.drift.proxy_id not in unseen


_AGAIN = (
    update(drift)
    .where(drift.c.id == bindparam("known_id"))
    .values({
        name: bindparam(f"new_{name}") for name in ("evidence", "action", "gate", "last_seen", "looks")
    })
)  # fmt: skip


def _again_values(known: KnownDrift, action: Action, found: Drift, now: datetime) -> rows.Values:
    return {
        "known_id": known.id,
        "new_evidence": found.evidence,
        "new_action": action.verb,
        "new_gate": action.gate,
        "new_last_seen": now,
        "new_looks": known.looks + 1,
    }


def _opened_values(action: Action, found: Drift, now: datetime) -> rows.Values:
    return {
        "kind": found.kind,
        "proxy_id": found.proxy_id,
        "stream_id": found.stream_id,
        "generation": found.generation,
        "key": found.key,
        "source_id": found.source_id,
        "drift_class": found.kind.drift_class,
        "evidence": found.evidence,
        "action": action.verb,
        "gate": action.gate,
        "first_seen": now,
        "last_seen": now,
        "looks": 1,
    }


def _drift_from(row: Row[Any]) -> KnownDrift:
    found = Drift(
        kind=DriftKind(row.kind),
        key=row.key,
        stream_id=row.stream_id,
        proxy_id=row.proxy_id,
        generation=row.generation,
        evidence=row.evidence,
        source_id=row.source_id,
    )
    return KnownDrift(
        id=row.id,
        drift=found,
        drift_class=DriftClass(row.drift_class),
        action=Verb(row.action),
        gate=row.gate,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        looks=row.looks,
        repaired_at=row.repaired_at,
    )
