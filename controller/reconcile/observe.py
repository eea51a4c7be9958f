"""All proxies, listed once, as one observation with freshness.

Unknown is not absent: a proxy that does not answer keeps its last list, marked ``stale``, and counts as ``lost`` only
after ``lost_after``, counted from the start of this process when it was never reached.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controller.domain.model import Command, CommandKind, Key, ProxyId
from controller.domain.observation import NO_BOOT, Freshness, Observed, ProxyView, SessionState
from controller.errors import ProxyUnreachableError
from controller.proxy_client import ProxyClient

log = structlog.get_logger(__name__)

Fence = tuple[int, int]


class Observer:
    """The newest that is known of every proxy."""

    def __init__(
        self,
        clients: Iterable[ProxyClient],
        known: Iterable[ProxyView],
        *,
        lost_after: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._clients = {client.url: client for client in clients}
        self._lost_after = lost_after
        self._clock = clock
        self._started_at = clock()
        self.rounds = 0
        """How often all were listed, or found unreachable, since start."""
        self._locks = {url: asyncio.Lock() for url in self._clients}
        self._tried: set[str] = set()
        # One that is not configured any more, or whose address DNS has forgotten, is no less unknown than the others.
        self._views: dict[str, ProxyView] = {
            view.url: replace(view, freshness=Freshness.NEVER, error="not reached since start") for view in known
        }
        self._grown = asyncio.Event()

        self._successors: dict[Key, tuple[Fence, ProxyView]] | None = None

    @property
    def clients(self) -> Mapping[str, ProxyClient]:
        return self._clients

    def admit(self, client: ProxyClient) -> None:
        """Look at one more proxy from now on."""
        if client.url not in self._clients:
            self._clients[client.url] = client
            self._locks[client.url] = asyncio.Lock()
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def dismiss(self, url: str) -> None:
        """Ask nobody at this address any more. What was last seen there stays, and grows old."""
        self._clients.pop(url, None)
        view = self._views.get(url)
        if view is not None and view.boot_id == NO_BOOT:
            del self._views[url]
        elif view is not None and view.is_fresh:
            self._fail(url, "its address is no longer known")

    def forget(self, proxy_id: ProxyId) -> None:
        """Know nothing any more of a proxy that is gone for good, unless it can still be asked."""
        self._views = {
            url: view for url, view in self._views.items() if view.proxy_id != proxy_id or url in self._clients
        }

    async def newcomers(self) -> AsyncIterator[ProxyClient]:
        """Yield every client, and then each that is admitted, for as long as anybody asks."""
        seen: set[ProxyClient] = set()
        while True:
            grown = self._grown
            for client in [client for client in self._clients.values() if client not in seen]:
                seen.add(client)
                yield client
            seen &= set(self._clients.values())
            await grown.wait()

    def is_asked(self, client: ProxyClient) -> bool:
        """Whether this client has not been dismissed."""
        return self._clients.get(client.url) is client

    @property
    def latest(self) -> Observed:
        """The newest observation, without asking anybody."""
        views = [self._aged(view) for view in self._views.values()]
        return Observed(tuple(sorted(views, key=lambda view: view.proxy_id)))

    @property
    def untried(self) -> int:
        """How many proxies were neither listed nor found unreachable since start."""
        return len(self._clients.keys() - self._tried)

    async def observe(self) -> Observed:
        """List every proxy, all at once, each within its time-out; return the newest observation."""
        async with asyncio.TaskGroup() as group:
            for client in tuple(self._clients.values()):
                group.create_task(self._refresh(client), name=f"list {client.url}")
        self.rounds += 1
        return self.latest

    def client(self, proxy_id: ProxyId) -> ProxyClient | None:
        """Return the client of the proxy that last called itself so."""
        view = next((view for view in self._views.values() if view.proxy_id == proxy_id), None)
        return self._clients.get(view.url) if view is not None else None

    def successor_url(self, command: Command) -> str:
        """Return where viewers of what is stopped find its key now: at a proxy seen to run a higher fence of it."""
        if command.kind is not CommandKind.STOP:
            return ""
        if self._successors is None:
            self._successors = _index(self._views.values())
        fence, view = self._successors.get(command.key, (None, None))
        is_successor = view is not None and fence is not None and fence > (command.epoch, command.generation)
        return view.public_url if view is not None and is_successor and view.proxy_id != command.proxy_id else ""

    def view_at(self, url: str) -> ProxyView | None:
        return self._views.get(url)

    async def _refresh(self, client: ProxyClient) -> None:
        async with self._locks[client.url]:
            try:
                view = await client.list()
            except ProxyUnreachableError as failed:
                if self.is_asked(client):
                    self._tried.add(client.url)
                    self._fail(client.url, failed.detail)
                return
            if self.is_asked(client):
                self._tried.add(client.url)
                self._accept(view)

    def _accept(self, view: ProxyView) -> None:
        before = self._views.get(view.url)
        if before is None or not before.is_fresh:
            log.info("proxy.reached", proxy=view.proxy_id, url=view.url, boot=view.boot_id, sessions=len(view.sessions))
        elif before.boot_id != view.boot_id:
            log.warning("proxy.restarted", proxy=view.proxy_id, boot=view.boot_id, boot_before=before.boot_id)
        self._views = {
            # Found at a new address, it is not at the old one any more.
            url: known
            for url, known in self._views.items()
            if known.proxy_id != view.proxy_id or url in self._clients
        }
        self._views[view.url] = view
        self._successors = None
        names = Counter(other.proxy_id for other in self._views.values())
        if names[view.proxy_id] > 1:
            # Two processes under one name: neither list proves anything about the other's sessions.
            log.error("proxy.id_taken_twice", proxy=view.proxy_id, url=view.url)
            self._views[view.url] = replace(
                view,
                proxy_id=ProxyId(f"{view.proxy_id}@{view.url}"),
                freshness=Freshness.STALE,
                error="its id is taken",
            )

    def _fail(self, url: str, detail: str) -> None:
        self._successors = None
        before = self._views.get(url)
        if before is None:
            log.warning("proxy.unreachable", url=url, error=detail)
            placeholder = ProxyView(ProxyId(url), url, Freshness.NEVER, error=detail)
            self._views[url] = placeholder
            return
        if before.is_fresh or before.error != detail:
            log.warning("proxy.unreachable", proxy=before.proxy_id, url=url, error=detail)
        freshness = Freshness.NEVER if before.freshness is Freshness.NEVER else Freshness.STALE
        self._views[url] = replace(before, freshness=freshness, error=detail)

    def _aged(self, view: ProxyView) -> ProxyView:
        if view.is_fresh:
            return view
        since = view.observed_at if view.freshness is not Freshness.NEVER else self._started_at
        if self._clock() - (since or self._started_at) >= self._lost_after:
            return replace(view, freshness=Freshness.LOST)
        return view


def _index(views: Iterable[ProxyView]) -> dict[Key, tuple[Fence, ProxyView]]:
    """Return, per key, the highest fence that a fresh proxy was seen to run, and which."""
    highest: dict[Key, tuple[Fence, ProxyView]] = {}
    for view in views:
        for session in view.sessions if view.is_fresh else ():
            fence = (session.epoch, session.generation)
            known = highest.get(session.key)
            if session.state is not SessionState.FINISHED and (known is None or known[0] < fence):
                highest[session.key] = (fence, view)
    return highest
