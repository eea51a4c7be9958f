"""The embedded MQTT broker of ``penstock serve``: amqtt, MQTT 3.1.1, in memory, for first steps on one machine.

It must not be mistaken for a real broker. What it lacks, measured on 0.12.1: MQTT 5; sessions, queues and retained
messages that survive its own restart; redelivery of what was sent and not acknowledged when a client went away. So
with it "no event is lost" is replaced by "births and new announcements make it right again".
"""

import asyncio
from typing import Any

from amqtt.broker import Broker
from amqtt.errors import BrokerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session
from typing_extensions import override

from controller.errors import StartupError

SESSION_EXPIRY_SECONDS = 3600
CONNECTIONS_MAX = 1000
START_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0


class OpenDoor(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Lets everybody in, and keeps their sessions: those of amqtt's own anonymous clients are forgotten at once."""

    @override
    async def authenticate(self, *, session: Session) -> bool:
        return True


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt is not typed
    """amqtt, with what waited for an absent client delivered as news.

    amqtt marks it as retained, against MQTT-3.3.1-9; a retained announcement counts for less than a fresh one.
    """

    @override
    async def _publish_session_retained_messages(self, session: Session) -> None:
        handler = self._get_handler(session)
        if handler is None:
            return
        async with asyncio.TaskGroup() as deliveries:
            while not session.retained_messages.empty():
                waiting = session.retained_messages.get_nowait()
                deliveries.create_task(handler.mqtt_publish(waiting.topic, waiting.data, waiting.qos, retain=False))


def configuration(bind: str) -> dict[str, Any]:
    """Return amqtt's configuration for a listener at ``HOST:PORT``."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": bind, "max_connections": CONNECTIONS_MAX}},
        "session_expiry_interval": SESSION_EXPIRY_SECONDS,
        "plugins": {"controller.cli.broker.OpenDoor": {}},
    }


async def serve(bind: str, stop: asyncio.Event) -> None:
    """Run the broker until ``stop`` is set."""
    broker = EmbeddedBroker(configuration(bind))
    try:
        async with asyncio.timeout(START_SECONDS):
            await broker.start()
    except BrokerError as error:
        raise StartupError(f"the embedded broker cannot listen on {bind}: {error}") from error
    await stop.wait()
    async with asyncio.timeout(SHUTDOWN_SECONDS):
        await broker.shutdown()
