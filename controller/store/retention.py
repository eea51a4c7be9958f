"""History kept within its limits, in steps short enough that no writer waits for long."""

from datetime import timedelta

from sqlalchemy.orm import Session

from controller.store import (
    approvals,
    blocks,
    dialects,
    drift,
    floors,
    history,
    outbox,
    processes,
    quarantine,
    runs,
    streams,
)

SETTLED_KEPT = timedelta(hours=1)
"""How long commands that were answered can be looked up."""

LAST_RUN_KEPT_FACTOR = 3
"""The last run of a key is kept longer than others: it holds the key's fence and its source's order."""


def prune(session: Session, *, age: timedelta, rows_max: int, limit: int) -> int:
    """Delete at most ``limit`` rows of each table of history that are past the limits; return how many.

    Args:
        session: a writing transaction.
        age: how long closed runs and what happened to them are kept.
        rows_max: how many rows of each kind are kept, the newest.
        limit: rows of one table in this call.
    """
    now = dialects.db_now(session)
    before = now - age
    forgotten_before = now - age * LAST_RUN_KEPT_FACTOR
    return (
        streams.prune(session, closed_before=before, forgotten_before=forgotten_before, limit=limit)
        + history.prune(session, before=before, keep_max=rows_max, limit=limit)
        + runs.prune(session, before=before, keep_max=rows_max, limit=limit)
        + approvals.prune(session, before=before, keep_max=rows_max, limit=limit)
        + quarantine.prune(session, before=before, keep_max=rows_max, limit=limit)
        + drift.prune(session, repaired_before=before, limit=limit)
        + floors.prune(session, raised_before=forgotten_before, limit=limit)
        + processes.prune(session, seen_before=forgotten_before, limit=limit)
        + blocks.prune(session, expired_before=now, limit=limit)
        + outbox.prune(session, settled_before=now - SETTLED_KEPT, limit=limit)
    )
