"""What operators change at run time: modes, pauses, drains, each with an owner, a reason and perhaps an end."""

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from controller.store import dialects
from controller.store.tables import controls


class Scope(StrEnum):
    GLOBAL = "global"
    PROXY = "proxy"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Control:
    scope: Scope
    subject: str
    """A proxy's id or a stream's key; empty for the global scope."""
    name: str
    """``mode``, ``pause``, ``drain``."""
    value: str
    owner: str
    why: str
    set_at: datetime
    expires_at: datetime | None = None


def put(session: Session, control: Control) -> None:
    """Set a control; one of that scope, subject and name is overwritten."""
    dialects.upsert(session, controls, [asdict(control)])


def remove(session: Session, scope: Scope, subject: str, name: str) -> None:
    target = (controls.c.scope == scope) & (controls.c.subject == subject) & (controls.c.name == name)
    session.execute(delete(controls).where(target))


def load(session: Session, *, now: datetime) -> tuple[Control, ...]:
    """Load the controls that hold now."""
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
