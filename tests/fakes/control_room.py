"""The control loop around fake proxies and a real database, with what a test wants to ask of it."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from controller.domain.events import Order, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import Cause, Key, Run, SourceId, StreamId, StreamSpec, Upstream
from controller.domain.plan import Plan, Policy
from controller.domain.retry import Backoff
from controller.proxy_client import ProxyClient
from controller.reconcile.dispatcher import Dispatcher, Limits
from controller.reconcile.loop import Reconciler
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue, Look
from controller.reconcile.watch import Watchers
from controller.store import lease, record, streams
from controller.store.engine import Database
from controller.store.term import Pace, Term

TOKEN = "secret"
SPEC = StreamSpec((Upstream("http://origin/a.ts"),))
QUICK = Backoff(0.02, 0.05)
_names = itertools.count(1)


def client_of(http: aiohttp.ClientSession, url: str, **seconds: float) -> ProxyClient:
    limits = {"list_timeout_seconds": 2.0, "command_timeout_seconds": 2.0, **seconds}
    return ProxyClient(http, url, token=TOKEN, **limits)


async def lead(database: Database) -> Term:
    """Take the lease, whoever has it, for longer than a test lasts."""
    known = await database.read(lease.load)
    dead = known.claim if known is not None else None
    pace = Pace(ttl_seconds=3600.0)
    taken = await database.write(lease.acquire, f"controller-{next(_names)}", pace.ttl, dead=dead)
    return Term(database, taken.claim, asked_at=time.monotonic(), pace=pace, clock=time.monotonic)


class ControlRoom:
    """One controller's loop. Nothing runs by itself except within :meth:`running`."""

    def __init__(
        self,
        database: Database,
        clients: Iterable[ProxyClient],
        *,
        term: Term,
        policy: Policy | None = None,
        resync_seconds: float = 1000.0,
        **observer: Any,
    ) -> None:
        self.database = database
        self.observer = Observer(
            clients, (), **{"lost_after": timedelta(hours=1), "clock": lambda: datetime.now(UTC), **observer}
        )
        self.queue = KeyQueue(time.monotonic, resync_seconds=lambda: resync_seconds, spacing_seconds=0.01)
        self.dispatcher = Dispatcher(
            database, self.observer, term=term, ring=self.queue.ring, limits=Limits(idle_seconds=0.02), backoff=QUICK
        )
        self.term = term
        self.changes = 0
        self.births_asked = 0
        self.startup = ""
        self.heard_seconds = 1e6
        self.reconciler = Reconciler(
            database,
            self.observer,
            self.queue,
            self.dispatcher,
            policy or Policy(),
            term=term,
            changed=self._count,
            ask_for_births=self._ask_for_births,
            startup=lambda: self.startup,
            heard_seconds=lambda: self.heard_seconds,
        )
        self.watchers = Watchers(self.observer, self.queue)
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, database: Database, clients: Iterable[ProxyClient], **options: Any) -> "ControlRoom":
        """Start as a controller does: by leading, with a token above every earlier one."""
        return cls(database, clients, term=await lead(database), **options)

    def _count(self) -> None:
        self.changes += 1

    async def _ask_for_births(self) -> None:
        self.births_asked += 1

    async def announce(self, key: str, epoch: int = 1, spec: StreamSpec = SPEC) -> None:
        cause = Cause("source:enc-1", "test")
        await self.record(StreamAnnounced(SourceId("enc-1"), Key(key), spec, cause, Order(epoch, 1), "boot"))

    async def end(self, key: str, epoch: int = 1) -> None:
        cause = Cause("source:enc-1", "test")
        await self.record(StreamEndAnnounced(SourceId("enc-1"), Key(key), cause, Order(epoch, 2), "boot"))

    async def record(self, *events: Any) -> None:
        recorded = await self.database.write(record.record_now, events, new_id=self._new_id)
        self.queue.ring(recorded.keys)
        self.dispatcher.wake()

    def _new_id(self) -> StreamId:
        return StreamId(f"stream-{next(self._ids)}-{time.monotonic_ns()}")

    async def run_of(self, key: str) -> Run:
        return (await self.database.read(streams.load_latest, [Key(key)]))[Key(key)]

    async def state(self, key: str) -> str:
        return (await self.run_of(key)).stream.state.value

    async def full(self) -> Plan:
        return await self.reconciler.cycle(Look(None))

    @contextlib.asynccontextmanager
    async def running(self, *parts: Callable[[], Any]) -> AsyncIterator[None]:
        """Run these parts, or the whole loop, until the block ends."""
        chosen: Sequence[Callable[[], Any]] = parts or (self.reconciler.run, self.dispatcher.run, self.watchers.run)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part()) for part in chosen]
            yield
            for task in tasks:
                task.cancel()
