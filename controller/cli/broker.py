"""The embedded MQTT broker of ``penstock serve``: amqtt, MQTT 3.1.1, in memory, for first steps on one machine.

It must not be mistaken for a real broker. What amqtt 0.12.1 lacks, measured: MQTT 5; sessions, queues and retained
messages that survive its own restart; redelivery of what a connected client was sent and did not acknowledge. So with
it "no event is lost" is replaced by "births and new announcements make it right again".
"""

import asyncio
from typing import Any

import structlog
from amqtt.broker import Broker
from amqtt.errors import BrokerError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import ApplicationMessage, Session
from typing_extensions import override

from controller.errors import StartupError

SESSION_EXPIRY_SECONDS = 3600
CONNECTIONS_MAX = 1000
IN_FLIGHT_MAX = 20
"""Messages sent to a returning client and not yet acknowledged."""
START_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0

log = structlog.get_logger(__name__)


class OpenDoor(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Lets everybody in, and keeps their sessions: those of amqtt's own anonymous clients are forgotten at once."""

    @override
    async def authenticate(self, *, session: Session) -> bool:
        return True


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt is not typed
    """amqtt, with two corrections about what waited for an absent client.

    It is delivered as news (amqtt marks it as retained, against MQTT-3.3.1-9, and a retained announcement counts for
    less), and while the client is already served: amqtt first waits for all acknowledgements, and a client that first
    subscribes, as ours does, would wait for amqtt.
    """

    @override
    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Leave it to the message loop."""

    @override
    async def _client_message_loop(self, client_session: Session, handler: BrokerProtocolHandler) -> None:
        async with asyncio.TaskGroup() as tasks:
            delivering = tasks.create_task(_deliver_waiting(client_session, handler), name="deliver waiting")
            await super()._client_message_loop(client_session, handler)
            delivering.cancel()


async def _deliver_waiting(session: Session, handler: BrokerProtocolHandler) -> None:
    while not session.retained_messages.empty():
        count = min(session.retained_messages.qsize(), IN_FLIGHT_MAX)
        batch = [session.retained_messages.get_nowait() for _ in range(count)]
        async with asyncio.TaskGroup() as deliveries:
            for message in batch:
                deliveries.create_task(_deliver(message, session, handler), name="deliver")


async def _deliver(message: ApplicationMessage, session: Session, handler: BrokerProtocolHandler) -> None:
    """Deliver one message; what is not acknowledged waits again, for the client's next connection."""
    is_acknowledged = False
    try:
        await handler.mqtt_publish(message.topic, message.data, message.qos, retain=False)
        is_acknowledged = True
    except TimeoutError:
        log.warning("broker.delivery_unacknowledged", client=session.client_id, topic=message.topic)
        await handler.handle_connection_closed()
    finally:
        if not is_acknowledged:
            session.retained_messages.put_nowait(message)


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
