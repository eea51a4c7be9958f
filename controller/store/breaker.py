"""The breaker's state, which outlives a controller: since when it is open, why, and what was spent in its window."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.domain.breaker import Breaker
from controller.store import dialects
from controller.store.tables import breaker

NAME = "stops without evidence"


def load(session: Session) -> Breaker:
    """Load it; one that was never written is closed, and has spent nothing."""
    row = session.execute(select(breaker).where(breaker.c.name == NAME)).one_or_none()
    if row is None:
        return Breaker()
    spent = tuple((datetime.fromisoformat(at), int(count)) for at, count in row.spent)
    return Breaker(row.opened_at, row.cause, spent)


def save(session: Session, state: Breaker) -> None:
    spent = [[at.isoformat(), count] for at, count in state.spent]
    values = {"name": NAME, "opened_at": state.opened_at, "cause": state.cause, "spent": spent}
    dialects.upsert(session, breaker, [values])
