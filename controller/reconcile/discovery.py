"""Proxies that are found by name: every address that DNS gives for it is one proxy.

An address that DNS gives no more is not asked any more, and that is all: what ran there is unknown, not gone, and is
moved only when the proxy counts as lost. DNS that does not answer changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from controller.proxy_client import ProxyClient
from controller.reconcile.observe import Observer

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""How long DNS may take."""


@dataclass(frozen=True, slots=True)
class Name:
    """What is asked for: ``dns+http://HOST:PORT``."""

    host: str
    port: int


Resolve = Callable[[Name], Awaitable[Sequence[str]]]
"""Returns the addresses of a name. Raises OSError."""


class Discovery:
    """Keeps the observer's proxies in step with DNS."""

    def __init__(
        self,
        names: Iterable[Name],
        observer: Observer,
        *,
        build: Callable[[str], ProxyClient],
        changed: Callable[[], None],
        interval_seconds: float,
        resolve: Resolve | None = None,
    ) -> None:
        self._names = tuple(names)
        self._observer = observer
        self._build = build
        self._changed = changed
        self._interval_seconds = interval_seconds
        self._resolve = resolve or resolve_name
        self._found: dict[Name, frozenset[str]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_seconds)

    async def look(self) -> None:
        """Ask for every name once."""
        async with asyncio.TaskGroup() as group:
            for name in self._names:
                group.create_task(self._look_at(name), name=f"resolve {name.host}")

    async def _look_at(self, name: Name) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                addresses = await self._resolve(name)
        except (OSError, TimeoutError) as failed:
            log.warning("discovery.failed", name=name.host, error=str(failed) or "no answer in time")
            return
        found = frozenset(_url(address, name.port) for address in addresses)
        before = self._found.get(name, frozenset())
        if found == before:
            return
        self._found[name] = found
        log.info("discovery.changed", name=name.host, came=sorted(found - before), left=sorted(before - found))
        elsewhere = frozenset[str]().union(*(urls for other, urls in self._found.items() if other != name))
        for url in found - before - elsewhere:
            self._observer.admit(self._build(url))
        for url in before - found - elsewhere:
            self._observer.dismiss(url)
        self._changed()


async def resolve_name(name: Name) -> Sequence[str]:
    """Ask the system's resolver. Raises OSError."""
    answers = await asyncio.get_running_loop().getaddrinfo(name.host, name.port, proto=6)
    return [str(address[0]) for *_, address in answers]


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
