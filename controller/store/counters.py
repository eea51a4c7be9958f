"""Numbers that only rise. The token of commands is one: every new holder of the lease is given the next."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.store import dialects
from controller.store.tables import counters

COMMAND_TOKEN = "command_token"  # noqa: S105 - the name of a counter, not a secret


def raise_token(session: Session, *, above: int = 0) -> int:
    """Raise the command token by one, or to one more than ``above``; return it."""
    token = max(current_token(session), above) + 1
    dialects.upsert(session, counters, [{"name": COMMAND_TOKEN, "value": token}])
    return token


def current_token(session: Session) -> int:
    """Return the command token; 0 when it was never raised."""
    query = select(counters.c.value).where(counters.c.name == COMMAND_TOKEN)
    return session.execute(query).scalar_one_or_none() or 0
