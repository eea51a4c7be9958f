"""``penstock demo``: a well-behaved source with one stream, which is the test clip that ships with the proxy.

It is what a source of your own has to be: a status with a Last Will, a birth on connecting and when asked for one,
epochs and sequence numbers, and an end that names its stream. No part of the controller: it speaks MQTT alone.
"""

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
import structlog

SOURCE = "demo"
PREFIX = "penstock/v1"
STATUS = f"{PREFIX}/sources/{SOURCE}/status"
COMMAND = f"{PREFIX}/sources/{SOURCE}/command"
BIRTH = f"{PREFIX}/sources/{SOURCE}/birth"
CONTROLLER = f"{PREFIX}/controller/status"
RECONNECT_SECONDS = 2.0
GOODBYE_SECONDS = 2.0
LABELS = {"name": "Demo", "group": "Demo"}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Source:
    """The one stream, and what numbers its messages."""

    key: str
    boot_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    epoch: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    births: int = 0
    is_stopped: bool = False
    """Whether an operator has stopped the stream: then it is not announced again."""

    def status(self, *, online: bool) -> str:
        return json.dumps({"online": online, "boot_id": self.boot_id})

    def started(self) -> dict[str, Any]:
        return {
            "boot_id": self.boot_id,
            "epoch": self.epoch,
            "seq": 1,
            "upstreams": ["demo:"],
            "outputs": ["ts", "hls"],
            "labels": LABELS,
        }

    def birth(self) -> str:
        self.births += 1
        streams = [] if self.is_stopped else [{"key": self.key, **self.started()}]
        return json.dumps({"boot_id": self.boot_id, "seq": self.births, "streams": streams})

    def ended(self) -> str:
        return json.dumps({"boot_id": self.boot_id, "epoch": self.epoch, "seq": 2, "reason": "source_ended"})

    def topic(self, event: str) -> str:
        return f"{PREFIX}/sources/{SOURCE}/streams/{self.key}/{event}"


async def announce(mqtt_url: str, key: str, stop: asyncio.Event) -> None:
    """Announce the stream until ``stop``, through any loss of the broker."""
    source = Source(key)
    while not stop.is_set():
        try:
            await _converse(mqtt_url, source, stop)
        except* aiomqtt.MqttError as lost:
            log.warning("demo.disconnected", why=str(lost.exceptions[0]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONNECT_SECONDS):
                await stop.wait()


async def _converse(mqtt_url: str, source: Source, stop: asyncio.Event) -> None:
    async with _client(mqtt_url, source) as client:
        await client.subscribe([(COMMAND, 1), (CONTROLLER, 1)])
        await client.publish(STATUS, source.status(online=True), qos=1, retain=True)
        await client.publish(BIRTH, source.birth(), qos=1)
        if not source.is_stopped:
            await client.publish(source.topic("started"), json.dumps(source.started()), qos=1)
        log.info("demo.announced", key=source.key, epoch=source.epoch)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(_answer(client, source), name="answer")
            await stop.wait()
            answering.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                if not source.is_stopped:
                    await client.publish(source.topic("ended"), source.ended(), qos=1)
                await client.publish(STATUS, source.status(online=False), qos=1, retain=True)


async def _answer(client: aiomqtt.Client, source: Source) -> None:
    """Send a birth whenever the controller asks for it or comes online; let the stream go when it is stopped there."""
    async for message in client.messages:
        topic, said = str(message.topic), _read(message.payload)
        if topic == COMMAND and said.get("command") == "stop" and said.get("key") == source.key:
            source.is_stopped = True
            log.info("demo.stopped", key=source.key, epoch=source.epoch)
        elif (topic == COMMAND and said.get("command") == "rebirth") or (topic == CONTROLLER and said.get("online")):
            await client.publish(BIRTH, source.birth(), qos=1)


def _read(payload: object) -> dict[str, Any]:
    try:
        said = json.loads(payload) if isinstance(payload, bytes | str) else None
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _client(mqtt_url: str, source: Source) -> aiomqtt.Client:
    parts = urlsplit(mqtt_url)
    is_tls = parts.scheme == "mqtts"
    return aiomqtt.Client(
        parts.hostname or "127.0.0.1",
        parts.port or (8883 if is_tls else 1883),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        identifier=f"penstock-source-{SOURCE}-{source.key}",
        protocol=aiomqtt.ProtocolVersion.V311,  # the embedded broker knows no other
        will=aiomqtt.Will(STATUS, source.status(online=False), qos=1, retain=True),
        tls_context=ssl.create_default_context() if is_tls else None,
    )
