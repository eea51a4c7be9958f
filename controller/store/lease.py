"""Who leads: one row, on the database's clock, with a token that rises with every change of holder.

Writers are alone on both databases, so reading, deciding and writing within one transaction needs no cleverer
statement: whoever proves its claim holds the lease until that transaction ends. The token comes from the counter of
``counters``, which a leader may raise further, so that a later leader's token is above everything ever sent.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.errors import LeaseLostError
from controller.store import counters, dialects, notices
from controller.store.notices import Notice
from controller.store.tables import lease

T = TypeVar("T")

LEADER = "controller"
"""The name of the one lease there is."""

NOBODY = ""
"""The holder of a lease that was given back."""

CREDIBLE = 2
"""A lease that would hold for this many times its length was written before the database's clock was set back."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a leader shows for itself: its name, and the token it was given with the lease."""

    holder: str
    token: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The row, as one transaction saw it."""

    claim: Claim
    expires_at: datetime
    read_at: datetime
    """The database's time."""

    @property
    def is_held(self) -> bool:
        return self.expires_at > self.read_at

    @property
    def left(self) -> timedelta:
        """How long it still holds unless it is renewed or released."""
        return max(self.expires_at - self.read_at, timedelta())

    def is_free(self, holder: str, ttl: timedelta) -> bool:
        """Whether ``holder`` may take it: it is not held, or by itself, or for longer than anybody holds a lease."""
        # After a clock was set back, the row of a dead leader would hold for as long as that.
        return not self.is_held or self.claim.holder == holder or self.left > CREDIBLE * ttl


def load(session: Session) -> Lease | None:
    """Return the lease as it is now, held or not; None when nobody ever had it."""
    row = session.execute(_ROW).one_or_none()
    if row is None:
        return None
    return Lease(Claim(row.holder, row.token), row.expires_at, dialects.db_now(session))


_ROW = select(lease).where(lease.c.name == LEADER)


def acquire(session: Session, holder: str, ttl: timedelta, *, dead: Claim | None = None) -> Lease:
    """Take the lease if nobody else holds it; return it as it is then, whoever holds it.

    Taking is always a new token, also for the one who had it last: what was sent under the old one is over. ``dead``
    names a claim whose process is known to be no more: there is nobody left to wait for.
    """
    known = load(session)
    if known is not None and not known.is_free(holder, ttl) and known.claim != dead:
        return known
    token = counters.raise_token(session, above=known.claim.token if known else 0)
    return _write(session, Claim(holder, token), ttl)


def renew(session: Session, claim: Claim, ttl: timedelta) -> Lease:
    """Hold the lease for longer. One that has expired, and was taken by nobody, is held again.

    Raises:
        LeaseLostError: somebody else took it, or it was released.
    """
    known = load(session)
    if known is None or known.claim != claim:
        raise _lost(claim, known)
    return _write(session, claim, ttl)


def release(session: Session, claim: Claim) -> bool:
    """Give the lease back, so that another may take it at once; return whether it was still ours."""
    known = load(session)
    if known is None or known.claim != claim:
        return False
    _write(session, Claim(NOBODY, claim.token), timedelta())
    # With the commit: who gives the lease back will hardly live to tell it later.
    notices.send(session, Notice(about_lease=True), origin=claim.holder)
    return True


def prove(session: Session, claim: Claim) -> None:
    """Make sure, in a writing transaction, that this claim holds the lease until the transaction ends.

    Raises:
        LeaseLostError: it does not: nothing of this transaction may be kept.
    """
    known = load(session)
    if known is None or known.claim != claim or not known.is_held:
        raise _lost(claim, known)


def proven(session: Session, claim: Claim, work: Callable[[Session], T]) -> T:
    """Run ``work`` in a transaction that first proves a claim. Raises LeaseLostError as ``prove`` does."""
    prove(session, claim)
    return work(session)


def raise_token(session: Session, claim: Claim, *, above: int) -> int:
    """Raise the token that commands carry above one that a proxy has seen: a restored database has forgotten it.

    Raises:
        LeaseLostError: only the leader may.
    """
    prove(session, claim)
    return counters.raise_token(session, above=max(above, claim.token))


def _write(session: Session, claim: Claim, ttl: timedelta) -> Lease:
    now = dialects.db_now(session)
    values = {"name": LEADER, **asdict(claim), "expires_at": now + ttl}
    dialects.upsert(session, lease, [values])
    return Lease(claim, now + ttl, now)


def _lost(claim: Claim, known: Lease | None) -> LeaseLostError:
    return LeaseLostError(claim.holder, known.claim.holder if known is not None and known.is_held else "")
