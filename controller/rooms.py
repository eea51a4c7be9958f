"""Everything one controller is made of, built and tied together.

Siblings that must talk (ingest -> reconcile, api -> reconcile) do so through the callables handed out here.
"""

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata

import aiohttp

from controller import tuning, web
from controller.api import application
from controller.api.pulse import Pulse
from controller.api.services import BrokerState, Figure, Health, Services, figure
from controller.domain import ids
from controller.domain.model import Key, ProxyId, SourceId, StreamId
from controller.domain.observation import ProxyView, Viewer
from controller.domain.plan import Plan
from controller.errors import ConflictError, LeaseLostError, NotFoundError
from controller.ingest import subscriber
from controller.ingest.topics import Rules
from controller.leader import Leader, Means
from controller.proxy_client import ProxyClient
from controller.reconcile import incarnation
from controller.reconcile.discovery import Discovery, Name
from controller.reconcile.housekeeping import Retention
from controller.reconcile.leadership import Leadership, Pillar
from controller.reconcile.lookout import Lookout
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue, Look
from controller.reconcile.watch import Watchers
from controller.settings import Settings
from controller.store import notices, term
from controller.store.engine import Database
from controller.store.notices import Notice
from controller.store.term import Term

RESYNC_JITTER = 0.2


def clients(settings: Settings, http: aiohttp.ClientSession) -> Callable[[str], ProxyClient]:
    """Return what makes the client of the proxy at one URL."""

    def client(url: str) -> ProxyClient:
        return ProxyClient(
            http,
            url,
            token=settings.control_secret,
            installation=settings.installation,
            list_timeout_seconds=settings.list_timeout_seconds,
            command_timeout_seconds=settings.command_timeout_seconds,
        )

    return client


class Rooms:
    """Everything one controller is made of, tied together."""

    def __init__(
        self, settings: Settings, database: Database, client: Callable[[str], ProxyClient], known: Iterable[ProxyView]
    ) -> None:
        self.database = database
        self.observer = Observer(
            map(client, settings.proxy_urls),
            known,
            lost_after=timedelta(seconds=settings.lost_after_seconds),
            clock=_now,
        )
        self.pulse = Pulse()
        self.stopping = asyncio.Event()
        self.queue = KeyQueue(
            time.monotonic,
            resync_seconds=lambda: _jittered(settings.resync_seconds),
        )
        self.watchers = Watchers(self.observer, self.queue)
        self.discovery = Discovery(
            [Name(name.host, name.port) for name in settings.proxy_names],
            self.observer,
            build=client,
            changed=self.queue.ring_all,
            interval_seconds=settings.discovery_seconds,
        )
        holder = incarnation.describe(settings.controller_name or socket.gethostname())
        self.notices = notices.between(database, settings.database_url, origin=holder, heard=self._hear)
        self._means = self._gather_means(settings)
        self.leadership = self._leadership(settings, holder)
        self.leader = Leader(self.leadership.no_term(), self._means)
        """Of the newest term. Once that is over it changes nothing any more, and plans still."""
        self.api = application.build(self._services(settings), web.routes())

    def wake(self, keys: Iterable[Key]) -> None:
        """These keys have changed in the database: see to them, or have the leader do so."""
        self.leader.wake(keys)

    def _wake_all(self) -> None:
        """As ``wake``, for what concerns every key."""
        self.leader.hear(None)
        self.pulse.ring()
        self.notices.tell(Notice(keys=None))

    def _tell(self, keys: Iterable[Key]) -> None:
        self.pulse.ring()
        self.notices.tell(Notice(frozenset(keys)))

    def _tell_of_lease(self) -> None:
        self.pulse.ring()
        self.notices.tell(Notice(about_lease=True))

    def _hear(self, notice: Notice) -> None:
        """Another controller has committed something."""
        self.pulse.ring()
        if notice.about_lease:
            self.leadership.wake()
        self.leader.hear(notice.keys)
        self.leader.ask_for_births(notice.births)

    def _gather_means(self, settings: Settings) -> Means:
        return Means(
            database=self.database,
            observer=self.observer,
            queue=self.queue,
            policy=tuning.policy(settings),
            retention=Retention(timedelta(days=settings.history_days), settings.history_rows_max),
            link=tuning.link(settings),
            rules=Rules(allows_anonymous=settings.allow_anonymous_topics),
            pace=subscriber.Pace(batch_max=settings.mqtt_batch_max, batch_seconds=settings.mqtt_batch_seconds),
            new_id=new_id,
            tell=self._tell,
        )

    def _leadership(self, settings: Settings, holder: str) -> Leadership:
        return Leadership(
            self.database,
            holder,
            pace=term.Pace(ttl_seconds=settings.lease_seconds, renew_seconds=settings.lease_renew_seconds),
            clock=_clock_that_counts_suspension,
            lead=self._lead,
            stand_by=Lookout(self.observer, self.queue, changed=self.pulse.ring).run,
            changed=self._tell_of_lease,
            is_known_dead=incarnation.is_known_dead,
        )

    def _lead(self, begun: Term) -> Mapping[str, Pillar]:
        self.leader = Leader(begun, self._means)
        return self.leader.pillars()

    def _services(self, settings: Settings) -> Services:
        return Services(
            database=self.database,
            observed=lambda: self.observer.latest,
            observe_now=self.observer.observe,
            wake=self.wake,
            wake_all=self._wake_all,
            ask_for_births=self._ask_for_births,
            plan_now=self._plan_now,
            run_now=self._run_now,
            list_viewers=self._list_viewers,
            kick_viewer=self._kick_viewer,
            new_id=new_id,
            pulse=self.pulse,
            stopping=self.stopping,
            health=self._health,
            version=metadata.version("penstock"),
            api_token=settings.api_token.get_secret_value() if settings.api_token else None,
            start_grace=timedelta(seconds=settings.start_grace_seconds),
            stop_grace=timedelta(seconds=settings.stop_grace_seconds),
            figures=self._figures,
        )

    def _ask_for_births(self, source_ids: Iterable[SourceId]) -> None:
        if self.leadership.is_leader:
            self.leader.ask_for_births(source_ids)
        else:
            self.notices.tell(Notice(births=frozenset(source_ids)))

    async def _plan_now(self) -> Plan:
        return await self.leader.reconciler.plan_now()

    async def _run_now(self) -> None:
        try:
            await self.leader.reconciler.cycle(Look(None))
        except LeaseLostError as lost:
            leader = self.leadership.leader
            raise ConflictError(f"controller {leader} leads: ask it" if leader else "no controller leads") from lost

    async def _list_viewers(self, proxy_id: ProxyId) -> Sequence[Viewer]:
        return await self._client(proxy_id).viewers()

    async def _kick_viewer(self, proxy_id: ProxyId, viewer_id: str) -> bool:
        return await self._client(proxy_id).kick(viewer_id)

    def _client(self, proxy_id: ProxyId) -> ProxyClient:
        client = self.observer.client(proxy_id)
        if client is None:
            raise NotFoundError("proxy", proxy_id)
        return client

    def _health(self) -> Health:
        if not self.leadership.is_leader:
            has_observed = self.leadership.has_seen_leader and self.observer.rounds > 0
            leader, trouble = self.leadership.leader, self.leadership.trouble
            return Health(has_observed, is_leader=False, leader=leader, broker="standby", database_detail=trouble)
        broker: BrokerState = "connected" if self.leader.subscriber.is_connected else "connecting"
        has_observed = self.leader.reconciler.full_at is not None
        recorder = self.leader.subscriber.recorder
        return Health(
            has_observed,
            is_leader=True,
            leader=self.leadership.leader,
            broker=broker,
            recording_trouble=recorder.trouble,
            recording_delayed_seconds=recorder.delayed_seconds,
        )

    def _figures(self) -> Iterable[Figure]:
        yield figure("leader_terms", "How often it began to lead.", self.leadership.terms, "counter")
        yield from self.leader.figures()

    def tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return every long-lived task of the process but the web server, by name."""
        return {
            "leadership": self.leadership.run,
            "watchers": self.watchers.run,
            "notices": self.notices.run,
            "discovery": self.discovery.run,
        }


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - RESYNC_JITTER, 1 + RESYNC_JITTER)  # noqa: S311 - spreads load, hides nothing


def new_id() -> StreamId:
    return ids.uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def _clock_that_counts_suspension() -> float:
    """Return seconds that also pass while the machine sleeps: a lease does not wait for it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> datetime:
    return datetime.now(UTC)
