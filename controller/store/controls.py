"""What operators change at run time: modes, pauses, drains, each with an owner, a reason and perhaps an end."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from controller.domain.controls import Control, Scope
from controller.store import dialects
from controller.store.tables import controls

__all__ = ["Control", "Scope", "load", "load_now", "prune", "put", "put_now", "remove"]


def put(session: Session, control: Control) -> None:
    """Set a control; one of that scope, subject and name is overwritten."""
    dialects.upsert(session, controls, [asdict(control)])


def put_now(
    session: Session,
    scope: Scope,
    subject: str,
    name: str,
    *,
    value: str,
    owner: str,
    why: str,
    for_seconds: float | None,
) -> Control:
    """Set a control from now on, by the database's clock; return it."""
    now = dialects.db_now(session)
    expires_at = None if for_seconds is None else now + timedelta(seconds=for_seconds)
    control = Control(scope, subject, name, value, owner, why, now, expires_at)
    put(session, control)
    return control


def remove(session: Session, scope: Scope, subject: str, name: str) -> bool:
    """Remove a control; return whether there was one."""
    target = (controls.c.scope == scope) & (controls.c.subject == subject) & (controls.c.name == name)
    removed: Any = session.execute(delete(controls).where(target))
    return bool(removed.rowcount)


def load_now(session: Session) -> tuple[Control, ...]:
    """Load the controls that hold now, by the database's clock."""
    return load(session, now=dialects.db_now(session))


def load(session: Session, *, now: datetime) -> tuple[Control, ...]:
    """Load the controls that hold at a time."""
    holds = or_(controls.c.expires_at.is_(None), controls.c.expires_at > now)
    query = select(controls).where(holds).order_by(controls.c.scope, controls.c.subject, controls.c.name)
    return tuple(
        Control(
            scope=Scope(row.scope),
            subject=row.subject,
            name=row.name,
            value=row.value,
            owner=row.owner,
            why=row.why,
            set_at=row.set_at,
            expires_at=row.expires_at,
        )
        for row in session.execute(query)
    )


def prune(session: Session, *, now: datetime) -> None:
    """Delete the controls that have expired."""
    session.execute(delete(controls).where(controls.c.expires_at <= now))
