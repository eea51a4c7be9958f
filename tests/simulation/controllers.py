"""A controller process, put together as ``controller.app`` does it: the real loop, dispatcher, queue, observer,
watchers, subscriber and follower, on the world's database, network and broker.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from controller import app
from controller.domain.events import Incoming
from controller.domain.model import Key, Stream
from controller.domain.plan import Policy
from controller.ingest.connection import Link
from controller.ingest.outgoing import Outbox
from controller.ingest.subscriber import Pace, Subscriber
from controller.proxy_client import ProxyClient
from controller.reconcile.dispatcher import Dispatcher, Limits
from controller.reconcile.loop import Reconciler
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue
from controller.reconcile.watch import Watchers
from controller.store import counters, proxies, record, streams
from controller.store.engine import Database
from controller.store.record import Recorded
from tests.simulation.clock import Process
from tests.simulation.network import Http, Network
from tests.simulation.stage import Stage
from tests.simulation.storage import DatabaseOfProcess, Storage

LOST_AFTER = timedelta(seconds=12)
POLICY = Policy(orphan_grace=timedelta(seconds=15), start_grace=timedelta(seconds=3), stop_grace=timedelta(seconds=3))
"""As the defaults, with shorter graces: a quiet minute has to be enough for everything."""

LINK = Link(host="broker", port=1883, client_id="penstock-controller")


@dataclass(frozen=True)
class Surroundings:
    """What a controller process finds where it is started."""

    stage: Stage
    storage: Storage
    network: Network
    publishes_states: bool


class Controller:
    """One controller process, from start to death."""

    def __init__(self, process: Process, around: Surroundings) -> None:
        self.process = process
        self._around = around
        self._loop = around.stage.loop
        self.database = cast("Database", DatabaseOfProcess(around.storage, process, around.stage))
        self.reconciler: Reconciler | None = None

    async def run(self) -> None:
        token = await self.database.write(counters.raise_token)
        known = await self.database.read(proxies.load)
        http = cast("Any", Http(self._around.network, self.process))
        clients = [
            ProxyClient(
                http, f"http://{proxy.proxy_id}", token="secret", list_timeout_seconds=3, command_timeout_seconds=5
            )
            for proxy in self._around.network.fleet.proxies
        ]
        views = [entry.view for entry in known]
        self._build(Observer(clients, views, lost_after=LOST_AFTER, clock=self._around.stage.now), token)
        async with asyncio.TaskGroup() as group:
            for room in self._rooms():
                group.create_task(room.run())

    def _build(self, observer: Observer, token: int) -> None:
        jitter = self._around.stage.chance
        self.queue = KeyQueue(self._loop.time, resync_seconds=lambda: jitter.between(8.0, 12.0))
        self.dispatcher = Dispatcher(
            self.database, observer, token=token, ring=self._look_at, limits=Limits(idle_seconds=5.0)
        )
        self.reconciler = Reconciler(self.database, observer, self.queue, self.dispatcher, POLICY, changed=self._tell)
        self.watchers = Watchers(observer, self.queue)
        self.outbox = Outbox(self._loop.time)
        self.follower = app._follower(self.database, self.outbox)
        self.subscriber = Subscriber(
            LINK,
            boot_id=f"{self.process.name}-{token}",
            write=self._write,
            wake=lambda recorded: self.wake(recorded.keys),
            read_states=self._read_states,
            read_latest=self._read_latest,
            outbox=self.outbox,
            pace=Pace(batch_max=10),
        )

    def _rooms(self) -> list[Any]:
        rooms = [self.reconciler, self.dispatcher, self.watchers, self.subscriber]
        # Publishing states decides nothing, and takes a fifth of a world's time: not in every world.
        return [*rooms, self.follower] if self._around.publishes_states else rooms

    def wake(self, keys: Iterable[Key]) -> None:
        self.dispatcher.wake()
        self._look_at(keys)

    def _look_at(self, keys: Iterable[Key]) -> None:
        self.queue.ring(keys)
        self._tell()

    def _tell(self) -> None:
        self.follower.wake()

    async def _write(self, events: Sequence[Incoming]) -> Recorded:
        return await self.database.write(record.record_now, events, new_id=app.new_id)

    async def _read_states(self) -> Iterable[Stream]:
        desired = await self.database.read(streams.desired)
        return [run.stream for run in desired.runs]

    async def _read_latest(self, keys: Collection[Key]) -> Iterable[Stream]:
        latest = await self.database.read(streams.load_latest, keys)
        return [run.stream for run in latest.values()]
