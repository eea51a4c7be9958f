"""The API with everything around it: a real database, and proxies that say what a test lets them say."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from controller.api import application
from controller.api.pulse import Pulse
from controller.api.services import Figure, Health, Services
from controller.domain.events import Incoming, StreamAnnounced
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import (
    ANONYMOUS,
    BootId,
    Cause,
    Change,
    Key,
    Output,
    ProxyId,
    Run,
    SourceId,
    StreamId,
    StreamSpec,
    Upstream,
)
from controller.domain.observation import (
    UNKNOWN_FIGURES,
    Figures,
    Freshness,
    Observed,
    ProxyView,
    Session,
    SessionState,
    Viewer,
)
from controller.domain.plan import Plan
from controller.errors import ProxyUnreachableError
from controller.store import record, streams, tables
from controller.store.engine import Database
from tests.fakes.asgi import Client

P1, BOOT = ProxyId("p1"), BootId("boot-1")
SPEC = StreamSpec((Upstream("http://origin/a.ts"),))
_FIGURES = Figures.__dataclass_fields__.keys()


class World:
    """What the rest of the process would be. ``client`` speaks to the API."""

    def __init__(
        self,
        database: Database,
        *,
        token: str | None = None,
        pages: Sequence[BaseRoute] = (),
        followers_max: int = 16,
    ) -> None:
        self.database = database
        self.pulse = Pulse(followers_max)
        self.stopping = asyncio.Event()
        self.observed = Observed((ProxyView(P1, "http://p1:8081", Freshness.FRESH, BOOT, 10, "http://media.example"),))
        self.at_observe: Any = None
        self.woken: list[Key] = []
        self.woken_all = 0
        self.asked_for_births: list[SourceId] = []
        self.viewers: dict[ProxyId, list[Viewer]] = {}
        self.health = Health(has_observed=True)
        self.figures: tuple[Figure, ...] = ()
        self.planned = Plan()
        self.run_error: Exception | None = None
        self._ids = itertools.count(1)
        self.now = datetime.now(UTC)
        self.services = Services(
            database=database,
            observed=lambda: self.observed,
            observe_now=self._observe_now,
            wake=self._wake,
            wake_all=self._wake_all,
            ask_for_births=self.asked_for_births.extend,
            plan_now=self._plan_now,
            run_now=self._run_now,
            list_viewers=self._list_viewers,
            kick_viewer=self._kick_viewer,
            new_id=self.new_id,
            pulse=self.pulse,
            stopping=self.stopping,
            health=lambda: self.health,
            version="1.2.3",
            api_token=token,
            figures=lambda: self.figures,
            clock=lambda: self.now,
        )
        self.app = application.build(self.services, pages)
        self.client = Client(self.app)

    def new_id(self) -> StreamId:
        return StreamId(f"00000000-0000-7000-8000-{next(self._ids):012}")

    # Desired

    async def record(self, *events: Incoming) -> record.Recorded:
        return await self.database.write(record.record_now, events, new_id=self.new_id)

    async def announce(self, key: str = "cam-7", spec: StreamSpec = SPEC, **fields: Any) -> Run:
        await self.record(StreamAnnounced(ANONYMOUS, Key(key), spec, Cause("source:anonymous", "a topic"), **fields))
        return await self.run(key)

    async def run(self, name: str) -> Run:
        found = await self.database.read(streams.find, name)
        assert found is not None
        return found

    async def change(self, run: Run, decide: Any) -> Run:
        """Let ``decide`` work on a draft of a run, as the control loop does, and save it."""

        def work(session: Any) -> None:
            draft = Draft(run, Cause("reconciler", "plan"), self.now)
            decide(draft)
            changed: Change | None = draft.change()
            if changed is not None:
                streams.save(session, [changed], now=self.now)

        await self.database.write(work)
        return await self.run(run.stream.id)

    async def place(self, run: Run, *, requested_ago: float = 60.0) -> Run:
        """Place a run on p1, and see it there."""
        now, self.now = self.now, self.now - timedelta(seconds=requested_ago)
        generation = run.stream.generation + 1
        run = await self.change(run, lambda draft: draft.place(P1, BOOT, generation=generation, why="no placement"))

        def observe(draft: Draft) -> None:
            draft.mark_observed(generation)
            draft.send(Event.SESSION_OBSERVED, detail="seen on proxy p1")

        run = await self.change(run, observe)
        self.now = now
        return run

    async def play(self, key: str = "cam-7", **fields: Any) -> Run:
        """Announce, place, and let p1 run it."""
        run = await self.place(await self.announce(key), requested_ago=60.0)
        moving = {name: fields.pop(name) for name in _FIGURES & fields.keys()}
        self.show(session_of(run, **fields), figures=Figures(**moving))
        return run

    # Observed

    def show(self, *sessions: Session, figures: Figures = UNKNOWN_FIGURES, **fields: Any) -> None:
        """Let p1 list further sessions, with these figures each."""
        view = self.observed.proxies[0]
        of_all = (*view.figures, *[figures] * len(sessions))
        seen = replace(
            view,
            sessions=(*view.sessions, *sessions),
            figures=of_all,
            viewers=sum(one.viewers for one in of_all),
            bitrate_bps=sum(one.bitrate_bps for one in of_all),
            observed_at=self.now,
            **fields,
        )
        self.observed = Observed((seen, *self.observed.proxies[1:]))

    def hide(self) -> None:
        """Let p1 list nothing any more."""
        self.observed = Observed((replace(self.observed.proxies[0], sessions=(), figures=(), observed_at=self.now),))

    # What the process would do

    async def _observe_now(self) -> Observed:
        if self.at_observe is not None:
            await self.at_observe()
        return self.observed

    def _wake(self, keys: Iterable[Key]) -> None:
        self.woken.extend(keys)
        self.pulse.ring()

    def _wake_all(self) -> None:
        self.woken_all += 1

    async def _plan_now(self) -> Plan:
        return self.planned

    async def _run_now(self) -> None:
        if self.run_error is not None:
            raise self.run_error

    async def _list_viewers(self, proxy_id: ProxyId) -> Sequence[Viewer]:
        if proxy_id not in self.viewers:
            raise ProxyUnreachableError(str(proxy_id), "no answer in time")
        return self.viewers[proxy_id]

    async def _kick_viewer(self, proxy_id: ProxyId, viewer_id: str) -> bool:
        before = self.viewers[proxy_id]
        self.viewers[proxy_id] = [viewer for viewer in before if viewer.viewer_id != viewer_id]
        return len(self.viewers[proxy_id]) < len(before)


async def open_database(folder: Path) -> Database:
    """Open an empty SQLite database with all its tables."""
    database = Database(f"sqlite:///{folder / 'penstock.db'}", synchronous="NORMAL")
    await database.write(tables.create)
    return database


def session_of(run: Run, state: SessionState = SessionState.FLOWING, **fields: Any) -> Session:
    stream = run.stream
    outputs = fields.pop("outputs", (Output.TS, Output.HLS))
    generation = fields.pop("generation", stream.generation)
    return Session(stream.id, stream.key, stream.epoch, generation, outputs, state, **fields)
