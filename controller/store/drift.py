"""Drifts from first seen to repaired: one row each."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from controller.domain.model import DriftKey, DriftSeen, Key
from controller.store import engine
from controller.store.tables import drift

_IS_OPEN = drift.c.repaired_at.is_(None)


def load_open(session: Session, keys: Collection[Key] | None = None) -> dict[DriftKey, DriftSeen]:
    """Load what earlier cycles saw and no cycle has seen repaired."""
    found: dict[DriftKey, DriftSeen] = {}
    for condition in _about(keys):
        for row in session.execute(select(drift).where(_IS_OPEN, condition)):
            key = DriftKey(row.kind, row.proxy_id, row.stream_id, row.generation)
            found[key] = DriftSeen(row.first_seen, row.looks)
    return found


def _about(keys: Collection[Key] | None) -> list[ColumnElement[bool]]:
    if keys is None:
        return [_IS_OPEN]
    return [drift.c.key.in_(part) for part in engine.parts(keys)]
