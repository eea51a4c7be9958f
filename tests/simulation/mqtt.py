"""The controller's connection to the broker: what the real ``Subscriber`` takes for ``ingest.connection``."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from controller.errors import BrokerLostError
from controller.ingest.connection import WILL_DELAY_SECONDS, Link, Message
from controller.ingest.inbox import Received
from tests.simulation.broker import Broker, Letter, Line
from tests.simulation.clock import Process, current_process
from tests.simulation.stage import Stage

WINDOW = 20
OURS = "penstock/v1/"


class SimulatedConnection:
    """The methods of ``ingest.connection.Connection``."""

    def __init__(self, post: "Post", process: Process, link: Link, will: Message) -> None:
        self._post = post
        self._process = process
        self._link = link
        self._inbox: deque[Received] = deque()
        self._has_news = asyncio.Event()
        self._is_lost = False
        self.has_session = False
        self.line = Line(link.client_id, self._arrive, self._lose, _letter(will), WILL_DELAY_SECONDS)

    async def open(self) -> None:
        await self._cross("MQTT connect")
        if not self._post.broker.is_up or self._process.name in self._post.cut:
            raise BrokerLostError(self._link.address, "connection refused")
        self.has_session = self._post.broker.connect(self.line, lambda topic: topic.startswith(OURS), WINDOW)
        self._post.lines[self._process.name] = self.line
        await self._cross("MQTT connected")

    def take_discarded(self) -> int:
        return 0

    async def subscribe(self, _pattern: str) -> None:
        await self._cross("MQTT subscribe")
        self._post.broker.subscribe(self.line)

    async def receive(self, count_max: int, linger_seconds: float) -> Sequence[Received]:
        while not self._inbox:
            self._check()
            self._has_news.clear()
            await self._has_news.wait()
            self._process.check()
        await self._cross("MQTT receive", linger_seconds)
        return [self._inbox.popleft() for _ in range(min(count_max, len(self._inbox)))]

    def acknowledge(self, batch: Sequence[Received]) -> None:
        stage = self._post.stage
        stage.touch(self._process, "commit done, MQTT acknowledgement to be sent", stage.chance.weather.crash_at_await)
        for received in batch:
            self.confirm(received)

    def confirm(self, received: Received) -> None:
        self._post.on_acknowledged(received)
        self._post.stage.loop.outside(0.001, self._post.broker.acknowledge, self.line, received.packet_id)

    async def publish(self, message: Message) -> None:
        await self._cross("MQTT publish")
        self._check()
        if self.line.is_open:
            self._post.broker.publish(_letter(message), keep=message.is_retained)
        await self._cross("MQTT published")
        self._check()

    async def _cross(self, place: str, seconds: float | None = None) -> None:
        await self._post.stage.cross(self._process, place, seconds)

    def _check(self) -> None:
        if self._is_lost:
            raise BrokerLostError(self._link.address, "the connection is lost")

    def _arrive(self, number: int, letter: Letter) -> None:
        if not self._is_lost:
            payload = letter.payload
            self._inbox.append(Received(letter.topic, payload, len(payload), letter.is_retained, 1, number))
            self._has_news.set()

    def _lose(self) -> None:
        self._is_lost = True
        self._has_news.set()


class Post:
    """The controllers' way to the broker."""

    def __init__(self, broker: Broker, stage: Stage) -> None:
        self.broker = broker
        self.stage = stage
        self.cut: set[str] = set()
        """Controllers that do not reach the broker."""
        self.lines: dict[str, Line] = {}
        self.on_acknowledged: Callable[[Received], None] = lambda _received: None

    @asynccontextmanager
    async def connect(
        self, link: Link, *, will: Message, farewell_seconds: float
    ) -> AsyncIterator[SimulatedConnection]:
        """Stand in for ``ingest.connection.connect``."""
        process = current_process()
        connection = SimulatedConnection(self, process, link, will)
        await connection.open()
        try:
            yield connection
        finally:
            if process.is_alive:
                try:
                    async with asyncio.timeout(farewell_seconds):
                        await connection.publish(will)
                except (BrokerLostError, TimeoutError):
                    pass
                self.broker.leave(connection.line)

    def lose(self, process: Process) -> None:
        """A process is dead, or does not reach the broker: the broker notices."""
        line = self.lines.pop(process.name, None)
        if line is not None:
            self.stage.loop.outside(0.05, self.broker.lose, line)


def _letter(message: Message) -> Letter:
    return Letter(message.topic, message.payload)


def read(payload: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(payload)
    return said
