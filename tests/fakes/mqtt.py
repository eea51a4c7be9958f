"""The other side of MQTT: a source that publishes by hand, a listener, and a subscriber that runs beside the test."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiomqtt

from controller.ingest.subscriber import Subscriber

PREFIX = "penstock/v1"
DEADLINE = 30.0


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; name it when it does not come true."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = condition()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


@contextlib.asynccontextmanager
async def running(subscriber: Subscriber) -> AsyncIterator[Subscriber]:
    """Run a subscriber until the block ends; return into the block when it is connected."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(subscriber.run())
        try:
            await until(lambda: subscriber.is_connected, "the subscriber is connected")
            yield subscriber
        finally:
            task.cancel()


class Source:
    """Publishes what it is told to, in order, each message confirmed by the broker."""

    def __init__(self, port: int, name: str = "enc-1", boot_id: str = "b1") -> None:
        self._port = port
        self._name = name
        self.boot_id = boot_id

    def client(self, **options: Any) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", self._port, **options)

    async def say(self, topic: str, payload: object = None, *, qos: int = 1, retain: bool = False) -> None:
        """Publish below the root; an object becomes JSON, None an empty payload."""
        async with self.client() as client:
            await client.publish(f"{PREFIX}/{topic}", encoded(payload), qos=qos, retain=retain, timeout=DEADLINE)

    async def start(self, key: str, epoch: int, seq: int, url: str = "http://h/a.ts") -> None:
        payload = {"boot_id": self.boot_id, "epoch": epoch, "seq": seq, "upstreams": [url]}
        await self.say(f"sources/{self._name}/streams/{key}/started", payload)

    async def end(self, key: str, epoch: int, seq: int) -> None:
        payload = {"boot_id": self.boot_id, "epoch": epoch, "seq": seq, "reason": "source_ended"}
        await self.say(f"sources/{self._name}/streams/{key}/ended", payload)

    async def report(self, *, is_online: bool) -> None:
        await self.say(f"sources/{self._name}/status", {"online": is_online, "boot_id": self.boot_id}, retain=True)

    @contextlib.asynccontextmanager
    async def listening(self, pattern: str) -> AsyncIterator["Listener"]:
        """Hear what is published below the root, what is retained included."""
        async with self.client() as client:
            await client.subscribe(f"{PREFIX}/{pattern}", qos=1)
            yield Listener(client)


class Listener:
    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def next(self, seconds: float = DEADLINE) -> tuple[str, Any]:
        """Wait for a message; return its topic below the root and what it says (None: it was empty)."""
        async with asyncio.timeout(seconds):
            message = await anext(self._client.messages)
        said = bytes(message.payload)
        return message.topic.value.removeprefix(f"{PREFIX}/"), json.loads(said) if said else None


def encoded(payload: object) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return b"" if payload is None else json.dumps(payload).encode()
