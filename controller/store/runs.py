"""Reconcile runs: every cycle of the control loop is one row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, insert, select
from sqlalchemy.orm import Session

from controller.domain.plan import Action
from controller.store import batches, cursors
from controller.store.cursors import Page
from controller.store.tables import reconcile_runs

ACTIONS_KEPT_MAX = 500
"""Of one cycle. How many there were stands in its counts."""

_ACTIONS = TypeAdapter(tuple[Action, ...])


@dataclass(frozen=True, slots=True)
class Cycle:
    """One look of the control loop."""

    at: datetime
    cause: str
    """``resync``, ``start``, or what rang."""
    token: int
    duration_seconds: float
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    actions: tuple[Action, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class KnownCycle:
    id: int
    cycle: Cycle


def add(session: Session, cycle: Cycle) -> int:
    """Write a cycle; return its id."""
    values = {
        "at": cycle.at,
        "cause": cycle.cause,
        "token": cycle.token,
        "duration_seconds": cycle.duration_seconds,
        "counts": dict(cycle.counts),
        "actions": _ACTIONS.dump_python(_most_telling(cycle.actions), mode="json"),
        "error": cycle.error,
    }
    statement = insert(reconcile_runs).values(values).returning(reconcile_runs.c.id)
    row_id: int = session.execute(statement).scalar_one()
    return row_id


def page(session: Session, *, cursor: str | None = None, limit: int = 50) -> Page[KnownCycle]:
    """List cycles, newest first. Raises InvalidError for a cursor that cannot be read."""
    return cursors.page_by_id(session, select(reconcile_runs), reconcile_runs, _cycle_from, cursor=cursor, limit=limit)


def prune(session: Session, *, before: datetime, keep_max: int, limit: int = 1000) -> int:
    """Delete the oldest: those before a time and those beyond ``keep_max``, at most ``limit``; return how many."""
    return batches.prune_by_id(
        session, reconcile_runs, reconcile_runs.c.at, before=before, keep_max=keep_max, limit=limit
    )


def _most_telling(actions: Sequence[Action]) -> tuple[Action, ...]:
    """Keep a bounded number: drift before routine."""
    ordered = sorted(actions, key=lambda action: action.drift is None) if len(actions) > ACTIONS_KEPT_MAX else actions
    return tuple(ordered[:ACTIONS_KEPT_MAX])


def _cycle_from(row: Row[Any]) -> KnownCycle:
    cycle = Cycle(
        at=row.at,
        cause=row.cause,
        token=row.token,
        duration_seconds=row.duration_seconds,
        counts=MappingProxyType(row.counts),
        actions=_ACTIONS.validate_python(row.actions),
        error=row.error,
    )
    return KnownCycle(row.id, cycle)
