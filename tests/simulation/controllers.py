"""A controller process: the whole of ``controller.app.run``, on the world's database, network and broker.

Nothing is put together here. What the program builds is what runs, but for the web server and its routes: whoever
would ask over HTTP asks the store as a route does.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from controller import app
from controller.api import application
from controller.domain.model import Key
from controller.leader import Leader
from controller.reconcile.leadership import Pillar
from controller.settings import Settings
from controller.store.engine import Database
from tests.simulation.clock import Process, current_process
from tests.simulation.network import Http, Network
from tests.simulation.patches import exchanged
from tests.simulation.stage import Stage
from tests.simulation.storage import DatabaseOfProcess, Storage

GRACES = {
    "lost_after_seconds": 12,
    "orphan_grace_seconds": 15,
    "start_grace_seconds": 3,
    "stop_grace_seconds": 3,
    "mqtt_batch_max": 10,
}
"""Shorter than the defaults: a quiet minute has to be enough for everything."""

LEFT_OUT = {"housekeeper"}
PUBLISHES = {"follower"}
"""Decides nothing, and takes a fifth of a world's time: not in every world."""


@dataclass(frozen=True)
class Surroundings:
    """What a controller process finds where it is started."""

    stage: Stage
    storage: Storage
    network: Network
    publishes_states: bool

    @contextmanager
    def given(self) -> Iterator[None]:
        """Let ``app`` find them."""
        with ExitStack() as stack:
            stack.enter_context(exchanged(app, "Database", self._database))
            stack.enter_context(exchanged(app, "http_session", self._http))
            stack.enter_context(exchanged(app, "_serve", self._serve))
            build, pillars = Leader.pillars, self._pillars
            stack.enter_context(exchanged(Leader, "pillars", lambda leader: pillars(build, leader)))
            stack.enter_context(exchanged(application, "build", lambda *_parts: None))
            yield

    def _database(self, *_address: object, **_options: object) -> DatabaseOfProcess:
        return DatabaseOfProcess(self.storage, current_process(), self.stage)

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Http]:
        yield Http(self.network, current_process())

    async def _serve(self, rooms: Any, controller: "Controller", _stop: object) -> None:
        """Run what ``app._serve`` runs, without the web server."""
        controller.rooms = rooms
        async with asyncio.TaskGroup() as group:
            for name, run in rooms.tasks().items():
                group.create_task(run(), name=name)

    def _pillars(self, build: Callable[[Leader], Mapping[str, Pillar]], leader: Leader) -> Mapping[str, Pillar]:
        left_out = LEFT_OUT if self.publishes_states else LEFT_OUT | PUBLISHES
        return {name: run for name, run in build(leader).items() if name not in left_out}


class Controller:
    """One controller process, from start to death."""

    def __init__(self, process: Process, around: Surroundings) -> None:
        self.process = process
        self.rooms: Any = None
        """What the program is made of, once it runs."""
        self.database: Database = DatabaseOfProcess(around.storage, process, around.stage)  # type: ignore[assignment]
        self._proxies = tuple(f"http://{proxy.proxy_id}" for proxy in around.network.fleet.proxies)

    async def run(self) -> None:
        await app.run(_settings(self.process.name, self._proxies), self, asyncio.Event())  # type: ignore[arg-type]

    def wake(self, keys: frozenset[Key]) -> None:
        """What a route does after it has written."""
        if self.rooms is not None:
            self.rooms.wake(keys)


@functools.cache
def _settings(name: str, proxies: tuple[str, ...]) -> Settings:
    return Settings(controller_name=name, control_token="secret", proxies=list(proxies), **GRACES)
