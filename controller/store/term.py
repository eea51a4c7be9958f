"""One stretch of leading: in whose name this controller acts, and until when it may.

Two guards, because a process may be stopped at any instruction and know nothing of it. By its own clock it trusts
itself for a little less than the lease, counted from before it asked; whoever acts calls :meth:`Term.check` first. And
every transaction proves the lease by the database's clock, so that one that was under way leaves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from controller.errors import LeaseLostError
from controller.store import lease
from controller.store.engine import Database
from controller.store.lease import Claim

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a lease holds, and how it is kept."""

    ttl_seconds: float = 15.0
    renew_seconds: float = 5.0

    @property
    def ttl(self) -> timedelta:
        return timedelta(seconds=self.ttl_seconds)

    @property
    def trusted_seconds(self) -> float:
        """How long the holder trusts its lease: it stops before anybody else may take it."""
        return 0.9 * self.ttl_seconds


class Term:
    """What a leader is while it leads. Over when the lease is; never used again."""

    def __init__(
        self, database: Database, claim: Claim, *, asked_at: float, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._pace = pace
        self._clock = clock
        self._trusted_until = self._trust_from(asked_at)
        self._is_over = False
        self.claim = claim
        self.began_at = asked_at
        """By the clock that was handed in, as is every time here."""
        self.token = claim.token
        """What every command carries; a proxy refuses any lower one it has seen surpassed."""

    @property
    def trusted_seconds(self) -> float:
        """How long it may go on without a renewal."""
        return 0.0 if self._is_over else max(0.0, self._trusted_until - self._clock())

    @property
    def is_trusted(self) -> bool:
        return self.trusted_seconds > 0

    def check(self) -> None:
        """Call this before anything that others see. Raises LeaseLostError when the time has run out."""
        if not self.is_trusted:
            raise LeaseLostError(self.claim.holder, "")

    def end(self) -> None:
        """Nothing is done in its name any more."""
        self._is_over = True

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as ``Database.write`` does, in a transaction that proves the lease.

        Raises:
            LeaseLostError: nothing is written.
            DatabaseError: as there.
        """
        self.check()
        return await self._database.write(lease.proven, self.claim, lambda session: work(session, *args, **kwargs))

    async def renew(self) -> None:
        """Hold the lease for longer. Raises LeaseLostError, or DatabaseError when it is not known."""
        asked_at = self._clock()
        await self._database.write(lease.renew, self.claim, self._pace.ttl)
        self._trusted_until = self._trust_from(asked_at)

    async def release(self) -> bool:
        """Give the lease back, for the next one to take at once; return whether it was still held."""
        self.end()
        return await self._database.write(lease.release, self.claim)

    async def rise_above(self, token: int) -> None:
        """Take a higher token than one that a proxy has seen: the database, once restored, may have forgotten it.

        Raises:
            LeaseLostError, DatabaseError: the token is as it was.
        """
        if self.token < token:
            self.check()
            raised = await self._database.write(lease.raise_token, self.claim, above=token)
            self.token = max(self.token, raised)

    def _trust_from(self, asked_at: float) -> float:
        return asked_at + self._pace.trusted_seconds
