"""HTTP between controllers and proxies: what the real ``ProxyClient`` takes for its ``aiohttp`` session.

A request travels on its own: whether its sender waits, gives up, freezes or dies, it arrives or it does not. It may be
lost, doubled or late; so may its reply.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from proxy import contract
from tests.simulation.clock import Process
from tests.simulation.proxies import Fleet, SimulatedProxy
from tests.simulation.stage import Stage

KEEPALIVE_SECONDS = 10.0
LATE_SECONDS = 15.0
"""Beyond every time-out of its sender."""
SLOW_SECONDS = 2.0
"""Within the time-out of a list."""


@dataclass
class Network:
    """Who reaches whom."""

    stage: Stage
    fleet: Fleet
    cut: set[tuple[str, str]] = field(default_factory=set)
    """(controller, proxy) pairs that cannot hear each other."""
    delays: list[tuple[str, ...]] = field(default_factory=list)
    """Methods whose next request is late (a command) or answered late (a list), each entry once."""
    on_delayed: Callable[[], None] = lambda: None
    arrivals: list[Callable[[SimulatedProxy, str], None]] = field(default_factory=list)
    """Told of every request before its proxy takes it."""

    def reaches(self, process: Process, proxy: SimulatedProxy) -> bool:
        return (process.name, proxy.proxy_id) not in self.cut


class Http:
    """One process's HTTP client."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    def request(self, method: str, url: str, **parts: Any) -> "_Exchange":
        return _Exchange(self._network, self._process, method, url, parts)

    async def get(self, url: str, **_parts: Any) -> "_Watch":
        proxy = _find(self._network, url)
        await self._network.stage.cross(self._process, "watch")
        if not proxy.is_up or not self._network.reaches(self._process, proxy):
            raise aiohttp.ClientConnectionError("no connection")
        return _Watch(self._network, self._process, proxy)


def _find(network: Network, url: str) -> SimulatedProxy:
    host = urlsplit(url).hostname
    return next(proxy for proxy in network.fleet.proxies if proxy.proxy_id == host)


class _Exchange:
    """One request and its answer, as an asynchronous context manager like aiohttp's."""

    status = 0

    def __init__(self, network: Network, process: Process, method: str, url: str, parts: Mapping[str, Any]) -> None:
        self._network = network
        self._stage = network.stage
        self._process = process
        self._method = method
        self._path = urlsplit(url).path.removeprefix(contract.PREFIX + "/")
        self._proxy = _find(network, url)
        self._data: str = parts.get("data") or ""
        self._params: dict[str, str] = dict(parts.get("params") or {})
        self._sent_at = 0.0
        self._answer: asyncio.Future[tuple[int, str]] = self._stage.loop.create_future()
        self._text = ""

    async def __aenter__(self) -> Self:
        self._stage.touch(self._process, f"{self._method} to be sent", self._stage.chance.weather.crash_at_await)
        self._sent_at = self._stage.loop.time()
        self._send()
        self.status, self._text = await self._answer
        self._stage.touch(self._process, f"{self._method} answered", self._stage.chance.weather.crash_at_await)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Nothing to close."""

    async def read(self) -> bytes:
        return self._text.encode()

    def _send(self) -> None:
        chance, weather = self._stage.chance, self._stage.chance.weather
        if not self._network.reaches(self._process, self._proxy):
            return  # nobody answers, until the time-out
        delay = chance.latency()
        if chance.happens(weather.request_lost):
            return
        if chance.happens(weather.request_late):
            delay = chance.between(1.0, weather.late_seconds)
        if self._is_delayed() and self._method != "GET":
            delay = LATE_SECONDS
        self._stage.loop.outside(delay, self._arrive)
        if chance.happens(weather.request_doubled):
            self._stage.loop.outside(delay + chance.between(0.0, weather.late_seconds), self._arrive_again)

    def _arrive(self) -> None:
        chance, weather = self._stage.chance, self._stage.chance.weather
        for told in self._network.arrivals:
            told(self._proxy, self._method)
        if not self._proxy.is_up:
            self._stage.loop.outside(chance.latency(), self._refuse)
            return
        answer = self._take()
        if self._method != "GET" and self._process.is_alive:
            for failpoint in self._stage.failpoints:
                failpoint(self._process, "command applied")
        if chance.happens(weather.reply_lost) or not self._network.reaches(self._process, self._proxy):
            return
        slow = chance.between(0.5, 8.0) if chance.happens(weather.reply_slow) else chance.latency()
        if self._method == "GET" and self._is_delayed():
            slow = SLOW_SECONDS
        self._stage.loop.outside(slow, self._reply, answer)

    def _is_delayed(self) -> bool:
        methods = next((methods for methods in self._network.delays if self._method in methods), None)
        if methods is not None:
            self._network.delays.remove(methods)
            self._network.on_delayed()
        return methods is not None

    def _arrive_again(self) -> None:
        if self._proxy.is_up and self._method != "GET":
            self._take()

    def _take(self) -> tuple[int, str]:
        answer = self._proxy.take(self._method, self._path, self._data, self._params, self._sent_at)
        if self._method != "GET":
            names = ("key", "epoch", "generation", "token")
            words = " ".join(f"{name}={self._params[name]}" for name in names if name in self._params)
            outcome = answer[1].partition('"outcome":"')[2].partition('"')[0]
            path = self._path.replace("sessions/", "")
            self._stage.story.tell(
                self._proxy.proxy_id,
                f"{self._method} {path} {words or self._brief()} from {self._process.name}: {outcome}",
            )
        return answer

    def _brief(self) -> str:
        if self._method != "PUT":
            return ""
        asked = contract.EnsureRequest.model_validate_json(self._data)
        return f"key={asked.spec.key} epoch={asked.epoch} generation={asked.generation} token={asked.token}"

    def _reply(self, answer: tuple[int, str]) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def _refuse(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(aiohttp.ClientConnectionError("connection refused"))


class _Watch:
    """An open change feed, as an aiohttp response; and its bell at the proxy."""

    status = 200

    def __init__(self, network: Network, process: Process, proxy: SimulatedProxy) -> None:
        self._network = network
        self._process = process
        self._proxy = proxy
        self._boot_id = proxy.boot_id
        self._lines: deque[bytes] = deque()
        self._has_line = asyncio.Event()
        self._is_open = True
        self.content = self

    async def __aenter__(self) -> Self:
        self._proxy.bells.append(self)  # type: ignore[arg-type]
        self.put_nowait(None)
        self._keep_alive()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._is_open = False
        if self in self._proxy.bells:  # type: ignore[comparison-overlap]
            self._proxy.bells.remove(self)  # type: ignore[arg-type]

    async def readline(self) -> bytes:
        while not self._lines:
            self._has_line.clear()
            await self._has_line.wait()
        self._process.check()
        return self._lines.popleft()

    def put_nowait(self, key: str | None) -> None:
        """Hear that something has changed there; with a new boot the feed is closed."""
        keys = () if key is None else (key,)
        change = contract.Change(boot_id=self._boot_id, sequence=self._proxy.sequence, keys=keys)
        is_over = self._proxy.boot_id != self._boot_id
        line = b"" if is_over else change.model_dump_json().encode()
        if self._network.reaches(self._process, self._proxy):
            self._network.stage.loop.outside(self._network.stage.chance.latency(), self._deliver, line)

    def _deliver(self, line: bytes) -> None:
        self._lines.append(line)
        self._has_line.set()

    def _keep_alive(self) -> None:
        if self._is_open and self._process.is_alive and self._proxy.boot_id == self._boot_id:
            self.put_nowait(None)
            self._network.stage.loop.outside(KEEPALIVE_SECONDS, self._keep_alive)
