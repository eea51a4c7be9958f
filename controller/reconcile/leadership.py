"""Who leads: one controller at a time does what must be done once; the others stand by, and serve the API.

What a leader is made of is built for each term and cancelled when the term ends, whatever ended it: the process, a
lease that could not be renewed in time, or another controller that took it. Then it stands by again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from controller.errors import DatabaseError, LeaseLostError
from controller.store import lease
from controller.store.engine import Database
from controller.store.lease import Claim, Lease
from controller.store.term import Pace, Term

log: Final = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""How often one who stands by looks at the lease."""

RETRY_SECONDS: Final = 0.5
"""After a renewal that failed."""

LATE_SECONDS: Final = 0.05
"""After the end of another's lease, before it is tried."""

GOODBYE_SECONDS: Final = 2.0
"""How long the work of a term may take to end before the lease is given back all the same."""

Pillar = Callable[[], Awaitable[None]]


class Leadership:
    """Leads whenever nobody else does.

    ``lead`` builds what runs during a term, by name; ``stand_by`` runs in between. ``is_known_dead`` tells of a holder
    that need not be waited for.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        *,
        pace: Pace,
        clock: Callable[[], float],
        lead: Callable[[Term], Mapping[str, Pillar]],
        stand_by: Pillar,
        changed: Callable[[], None] = lambda: None,
        is_known_dead: Callable[[str], bool] = lambda _holder: False,
    ) -> None:
        self.holder = holder
        self.leader = ""
        """Who was last seen to lead; empty when nobody was."""
        self.has_seen_leader = False
        self.trouble = ""
        """Why the lease could be neither read nor taken when it was last tried; empty when it could."""
        self.terms = 0
        """Terms begun since the process started."""
        self._database = database
        self._pace = pace
        self._clock = clock
        self._lead = lead
        self._stand_by = stand_by
        self._changed = changed
        self._is_known_dead = is_known_dead
        self._bell = asyncio.Event()
        self._term: Term | None = None

    @property
    def is_leader(self) -> bool:
        return self._term is not None and self._term.is_trusted

    def wake(self) -> None:
        """Look at the lease now: somebody took it, or gave it back."""
        self._bell.set()

    def no_term(self) -> Term:
        """Return a term that is over: what who has not led yet acts by."""
        over = self._term_of(Claim(self.holder, 0), self._clock())
        over.end()
        return over

    async def run(self) -> None:
        """Lead and stand by in turns, until cancelled."""
        while True:
            term = await self._wait_for_turn()
            await self._serve(term)

    # Standing by

    async def _wait_for_turn(self) -> Term:
        async with asyncio.TaskGroup() as group:
            standing = group.create_task(_pillar(self._stand_by), name="stand by")
            try:
                while (term := await self._try()) is None:
                    pass
            finally:
                standing.cancel()
        return term

    async def _try(self) -> Term | None:
        """Take the lease if that may be; else wait for a reason to try again."""
        self._bell.clear()
        try:
            known = await self._database.read(lease.load)
            dead = known.claim if known is not None and self._is_known_dead(known.claim.holder) else None
            if known is None or dead is not None or known.is_free(self.holder, self._pace.ttl):
                asked_at = self._clock()
                known = await self._database.write(lease.acquire, self.holder, self._pace.ttl, dead=dead)
                if known.claim.holder == self.holder:
                    self.trouble = ""
                    return self._term_of(known.claim, asked_at)
        except DatabaseError as failed:
            self.trouble = failed.detail
            log.warning("leadership.unknown", error=str(failed))
            await self._rest(LOOK_SECONDS)
            return None
        self.trouble = ""
        self._note_leader(known)
        await self._rest(min(LOOK_SECONDS, known.left.total_seconds() + LATE_SECONDS))
        return None

    def _term_of(self, claim: Claim, asked_at: float) -> Term:
        return Term(self._database, claim, asked_at=asked_at, pace=self._pace, clock=self._clock)

    def _note_leader(self, known: Lease) -> None:
        leader = known.claim.holder
        if leader != self.leader:
            log.info("leadership.seen", leader=leader, token=known.claim.token)
            self.leader = leader
            self._changed()
        self.has_seen_leader = True

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()

    # Leading

    async def _serve(self, term: Term) -> None:
        """Do all that a leader does until the term is over, then give the lease back if it is still held."""
        self.leader = self.holder
        self.has_seen_leader = True
        self.terms += 1
        self._term = term
        log.info("leadership.gained", holder=self.holder, token=term.token)
        self._changed()
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep(term), name="lease")
            pillars = [group.create_task(_until_lost(run), name=name) for name, run in self._lead(term).items()]
            try:
                await asyncio.wait([keeper, *pillars], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._end(term, [keeper, *pillars])

    async def _end(self, term: Term, tasks: list[asyncio.Task[None]]) -> None:
        was_trusted = term.is_trusted
        term.end()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
        self._term = None
        self.leader = ""
        log.info("leadership.ended", holder=self.holder, token=term.token, in_time=was_trusted)
        with contextlib.suppress(TimeoutError, DatabaseError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await term.release()
        self._changed()

    async def _keep(self, term: Term) -> None:
        """Renew the lease until that fails for good, or for too long."""
        pause = self._pace.renew_seconds
        while True:
            await asyncio.sleep(min(pause, term.trusted_seconds))
            if not term.is_trusted:
                return
            pause = await self._renew(term)

    async def _renew(self, term: Term) -> float:
        """Renew once; return how long to wait for the next time."""
        try:
            async with asyncio.timeout(term.trusted_seconds):
                await term.renew()
        except (DatabaseError, TimeoutError) as failed:
            detail = str(failed) or "no answer in time"
            log.warning("leadership.not_renewed", error=detail, trusted_seconds=round(term.trusted_seconds, 2))
            return RETRY_SECONDS
        except LeaseLostError as lost:
            log.warning("leadership.lost", error=str(lost))
            term.end()
        return self._pace.renew_seconds


async def _pillar(run: Pillar) -> None:
    await run()


async def _until_lost(run: Pillar) -> None:
    """Run until it ends; that the lease is lost is a result, not a failure."""
    try:
        await run()
    except* LeaseLostError as lost:
        log.warning("leadership.lost", error="; ".join(str(error) for error in lost.exceptions))
