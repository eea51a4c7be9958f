"""How many pulls one host gets at once, and who is next when there is no room.

Providers cut off whoever opens one connection too many. Whoever pulls holds a slot of the upstream's host from before
it connects until its connection is closed; how many are taken is how many are held, there is no counter that could
leak. Those for whom there is no room wait in the order in which they came, for a while. A pull that nobody watches
any more is *spare*: it is called back as soon as somebody waits.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from proxy.contract import Upstream
from proxy.errors import UpstreamBusyError

PORTS: Final = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "srt": 0}
"""The port that is meant when none is written."""
NOT_COUNTED: Final = frozenset({"udp", "rtp"})
"""Schemes whose upstreams are listened to: no host gives a connection."""
SETTLE_SECONDS: Final = 3.0
"""A host may take so long to notice that a connection was closed."""
RELEASES_MAX: Final = 1024


@dataclass(slots=True, eq=False)
class Slot:
    """One pull's claim on its host; ``host`` is empty where none is counted."""

    host: str
    limit: int | None
    """What the upstream's own announcement allows its host."""
    on_recall: Callable[[], None]
    """Called when somebody waits and this one is spare; it should then be closed."""
    spare: bool = False

    @staticmethod
    def of(upstream: Upstream, on_recall: Callable[[], None], *, spare: bool = False) -> "Slot":
        return Slot(host_of(upstream.url), upstream.connections_max, on_recall, spare)


@dataclass(slots=True)
class _Host:
    held: list[Slot] = field(default_factory=list)
    waiting: deque[tuple[Slot, asyncio.Future[None]]] = field(default_factory=deque)


class Slots:
    """All pulls of this proxy, by host. ``limit`` is for every host; 0 for none."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._hosts: dict[str, _Host] = {}
        self._released_at: OrderedDict[str, float] = OrderedDict()

    @asynccontextmanager
    async def hold(self, slot: Slot, seconds_max: float, on_wait: Callable[[str], None]) -> AsyncIterator[None]:
        """Hold the slot; wait for it if need be, and say so. Raise UpstreamBusyError when it takes too long."""
        if not slot.host:
            yield
            return
        await self._take(slot, seconds_max, on_wait)
        try:
            yield
        finally:
            self._release(slot)

    def has_room(self, slot: Slot, *, without: Slot | None = None) -> bool:
        """Whether the slot could be held at once; with ``without``, if that one were not held."""
        host = self._hosts.get(slot.host)
        return host is None or (not host.waiting and self._fits(slot, host, without))

    def has_spare(self, slot: Slot) -> bool:
        """Whether somebody would give room for the slot if it waited."""
        host = self._hosts.get(slot.host)
        return host is not None and any(held.spare for held in host.held)

    def held(self, host: str) -> int:
        """Return how many pulls are open at ``host``, as ``host_of`` writes it."""
        return len(self._hosts[host].held) if host in self._hosts else 0

    def is_settling(self, slot: Slot, now: float) -> bool:
        """Whether the slot's host, of which few pulls are allowed, may not have noticed yet that one was closed."""
        return now - self._released_at.get(slot.host, now - SETTLE_SECONDS) < SETTLE_SECONDS

    def set_spare(self, slot: Slot, *, spare: bool) -> None:
        """Say whether it may be called back when somebody waits."""
        slot.spare = spare
        host = self._hosts.get(slot.host)
        if spare and host is not None and host.waiting and slot in host.held:
            slot.on_recall()

    async def _take(self, slot: Slot, seconds_max: float, on_wait: Callable[[str], None]) -> None:
        host = self._hosts.setdefault(slot.host, _Host())
        if not host.waiting and self._fits(slot, host):
            host.held.append(slot)
            return
        limit = self._limit_of(slot, host.held)
        if seconds_max <= 0:
            raise UpstreamBusyError(slot.host, limit)
        turn = asyncio.get_running_loop().create_future()
        host.waiting.append((slot, turn))
        on_wait(f"waiting for a free connection to host {slot.host}, limit {limit}")
        is_mine = False
        try:
            self._recall(host)
            async with asyncio.timeout(seconds_max):
                await turn
            is_mine = True
        except TimeoutError:
            raise UpstreamBusyError(slot.host, limit) from None
        finally:
            if not is_mine:
                self._withdraw(slot, host)

    def _withdraw(self, slot: Slot, host: _Host) -> None:
        """Its turn may have come in the very moment in which it gave up."""
        if slot in host.held:
            self._release(slot)
            return
        host.waiting = deque(entry for entry in host.waiting if entry[0] is not slot)
        self._serve(slot.host, host)

    def _release(self, slot: Slot) -> None:
        host = self._hosts[slot.host]
        if self._limit_of(slot, host.held):
            self._released_at.pop(slot.host, None)
            self._released_at[slot.host] = asyncio.get_running_loop().time()
            if len(self._released_at) > RELEASES_MAX:
                self._released_at.popitem(last=False)
        host.held.remove(slot)
        self._serve(slot.host, host)

    def _serve(self, name: str, host: _Host) -> None:
        """Give what is free to those who wait, the first first."""
        while host.waiting and self._fits(host.waiting[0][0], host):
            slot, turn = host.waiting.popleft()
            if not turn.done():
                host.held.append(slot)
                turn.set_result(None)
        if host.waiting:
            self._recall(host)
        elif not host.held:
            self._hosts.pop(name, None)

    @staticmethod
    def _recall(host: _Host) -> None:
        """Call back as many spare ones as there are who wait, those who have held longest first."""
        for slot in [slot for slot in host.held if slot.spare][: len(host.waiting)]:
            slot.on_recall()

    def _fits(self, slot: Slot, host: _Host, without: Slot | None = None) -> bool:
        held = [other for other in host.held if other is not without]
        limit = self._limit_of(slot, held)
        return not limit or len(held) < limit

    def _limit_of(self, slot: Slot, held: list[Slot]) -> int:
        """Return the least of what the setting, the slot and all who hold one allow; 0 for none."""
        limits = [limit for limit in (self._limit, slot.limit, *(other.limit for other in held)) if limit]
        return min(limits, default=0)


def host_of(url: str) -> str:
    """Return host and port that a URL connects to, without credentials; nothing for what is not connected to."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return ""
    is_counted = parts.hostname and port is not None and parts.scheme not in NOT_COUNTED
    return f"{parts.hostname}:{port}" if is_counted else ""
