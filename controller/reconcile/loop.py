"""The cycle: observe, plan, save, do, and look again. Right without any bell, only slower.

It reads everything it needs and then acts; running it twice equals running it once. Intent is committed before any
proxy is told, and no network is awaited inside a transaction. One of them works for one term.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from controller.domain.breaker import Breaker
from controller.domain.model import Key
from controller.domain.observation import Observed
from controller.domain.plan import Action, DriftClass, GateKind, Plan, Policy, Standing
from controller.errors import DatabaseError, DatabaseUnavailableError, ProxyUnreachableError
from controller.reconcile.dispatcher import Dispatcher
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue, Look
from controller.reconcile.report import Reporter
from controller.reconcile.tally import Tally
from controller.store import plans
from controller.store.engine import Database
from controller.store.plans import Made, Saved
from controller.store.recollection import Recollection
from controller.store.term import Term

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""After a cycle that the database refused."""

STARTUP_SECONDS = 0.5
"""Between looks, while something waits for this controller to know enough to stop anything."""

BUDGET_SECONDS = 1.0
"""Between looks at what waits for its turn to be stopped."""

SYNC_SECONDS = 0.2
"""Between looks at a proxy that has just booted, until all that should run there has been asked for."""


class Reconciler:
    """Repeats the cycle for whatever the queue names.

    ``changed`` is told of every cycle that decided something; ``ask_for_births`` asks every source for the full list of
    its streams; ``startup`` says why nothing may be stopped yet; ``heard_seconds`` for how long sources could be heard.
    """

    def __init__(
        self,
        database: Database,
        observer: Observer,
        queue: KeyQueue,
        dispatcher: Dispatcher,
        policy: Policy,
        *,
        term: Term,
        changed: Callable[[], None],
        ask_for_births: Callable[[], Awaitable[None]],
        startup: Callable[[], str],
        heard_seconds: Callable[[], float],
    ) -> None:
        self._database = database
        self._observer = observer
        self._queue = queue
        self._dispatcher = dispatcher
        self._policy = policy
        self._term = term
        self._changed = changed
        self._ask_for_births = ask_for_births
        self._startup = startup
        self._heard_seconds = heard_seconds
        self._recollection = Recollection()
        self.standing = Standing()
        """What the next plan begins with."""
        self.breaker = Breaker()
        """As the last plan left it."""
        self._one_at_a_time = asyncio.Lock()
        self._boots: frozenset[tuple[str, str, bool]] = frozenset()
        self.tally = Tally()
        self._reporter = Reporter()
        self.cycles = 0
        self.full_at: float | None = None
        """When the last full cycle ended, on the monotonic clock."""

    async def run(self) -> None:
        while True:
            look = await self._queue.take()
            try:
                await self.cycle(look)
            except DatabaseError as failed:
                log.warning("reconcile.failed", error=str(failed))
                self.tally.results["error"] += 1
                self.tally.errors += 1
                self.tally.terminal_errors += not isinstance(failed, DatabaseUnavailableError)
                self._queue.ring_again(look, RETRY_SECONDS)

    async def plan_now(self, keys: frozenset[Key] | None = None) -> Plan:
        """Return what a cycle would do now, without doing it."""
        return (await self._plan(keys)).plan

    async def cycle(self, look: Look) -> Plan:
        """Run one cycle; return what it did.

        Raises:
            LeaseLostError: another controller leads, or nobody does.
            DatabaseError: nothing was decided, or it is unknown whether it was.
        """
        self._term.check()
        async with self._one_at_a_time:
            return await self._cycle(look)

    async def _cycle(self, look: Look) -> Plan:
        began = time.perf_counter()
        made = await self._plan(look.keys)
        planned = made.plan
        self._notice_boots(made.observed, is_full=look.is_full)
        # A look at single keys says little about the proxies, and comes often.
        views = [view for view in made.observed.proxies if look.is_full and self._recollection.is_news(view)]
        saved = await self._term.write(
            plans.save,
            planned,
            made.observed,
            keys=look.keys,
            now=made.now,
            token=self._term.token,
            duration_seconds=time.perf_counter() - began,
            views=views,
        )
        self._recollection.note_written(views)
        self._keep(made)
        if saved.stale:
            self._queue.ring(saved.stale)
        if not planned.is_empty:
            self._dispatcher.wake()
            self._changed()
        seconds = time.perf_counter() - began
        self._reporter.report(look, made, saved.news, seconds)
        self._count(made, saved, seconds)
        if planned.asks_for_births:
            await self._ask_for_births()
        if look.is_full:
            await self._mark_synced(made)
        self.cycles += 1
        return planned

    def _keep(self, made: Made) -> None:
        """What is saved is what the next plan begins with; what is held for a moment is looked at in a moment."""
        planned, before = made.plan, made.desired.breaker
        self.standing, self.breaker = planned.standing, planned.breaker
        if planned.breaker.is_open and not before.is_open:
            log.error("breaker.opened", cause=planned.breaker.cause, digest=planned.digest)
        elif before.is_open and not planned.breaker.is_open:
            log.warning("breaker.closed", cause=before.cause, approval=planned.approval)
        if any(action.gate_kind is GateKind.STARTUP for action in planned.actions):
            self._queue.ring_all(STARTUP_SECONDS)
        waiting = {Key(action.key) for action in planned.actions if _waits_for_its_turn(action)}
        if waiting:
            self._queue.ring(waiting, BUDGET_SECONDS)

    def _count(self, made: Made, saved: Saved, seconds: float) -> None:
        actions = made.plan.actions
        is_held_shortly = any(a.gate_kind is GateKind.STARTUP or _waits_for_its_turn(a) for a in actions)
        result = "requeue" if saved.stale else "requeue_after" if is_held_shortly else "success"
        self.tally.results[result] += 1
        self.tally.seconds.note(seconds)
        self.tally.note_drifts(saved.news, actions, made.now)

    async def _plan(self, keys: frozenset[Key] | None) -> Made:
        """List first, read the database then: a session that is listed has its placement in that reading."""
        observed = await self._observer.observe()
        heard = timedelta(seconds=self._heard_seconds())
        standing = replace(self.standing, startup=self._startup(), heard=heard)
        return await self._database.read(
            plans.make, observed, self._policy, keys, recollection=self._recollection, standing=standing
        )

    def _notice_boots(self, observed: Observed, *, is_full: bool) -> None:
        """A proxy that came, went or restarted concerns every key."""
        boots = frozenset((view.proxy_id, view.boot_id, view.is_fresh) for view in observed.proxies)
        if boots != self._boots and not is_full:
            self._queue.ring_all()
        if is_full:
            self._boots = boots

    async def _mark_synced(self, made: Made) -> None:
        """Tell proxies that have just booted once nothing is left to be asked of them, and all of them who leads now.

        A command of an earlier leader that is still on its way is refused from then on, also where this one has nothing
        to ask for.
        """
        self.full_at = time.monotonic()
        busy = {p.proxy_id for change in made.plan.changes for p in change.placements}
        busy |= {proxy_id for _, _, proxy_id in made.desired.pending}
        for view in made.observed.proxies:
            if not view.is_fresh or (view.is_synced and view.token_highest >= self._term.token):
                continue
            if view.proxy_id in busy and not view.is_synced:
                self._queue.ring_all(SYNC_SECONDS)
                continue
            await self._term.rise_above(view.token_highest)
            self._term.check()
            try:
                await self._observer.clients[view.url].mark_synced(view.boot_id, self._term.token)
            except ProxyUnreachableError as failed:
                log.warning("proxy.unreachable", proxy=view.proxy_id, error=failed.detail)


def _waits_for_its_turn(action: Action) -> bool:
    is_proven = action.drift is not None and action.drift.kind.drift_class is DriftClass.EVIDENCED
    return is_proven and action.gate_kind is GateKind.BUDGET
