"""One connection to the broker: the only file that knows the MQTT library.

What it adds to aiomqtt: acknowledgement when the caller says so (aiomqtt acknowledges on arrival, and what then sits in
its queue is lost in a crash), a bounded inbox, batches instead of a task per message, and errors in our words. A
connection is used once: message numbers of one connection mean nothing on the next, so a late acknowledgement can
never confirm another message.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from controller.errors import BrokerLostError
from controller.ingest.inbox import INBOX_MAX, Inbox, Received

CONNECT_SECONDS: Final = 20.0
"""For name, TCP, TLS and the broker's answer together."""

ANSWER_SECONDS: Final = 10.0
"""How long the broker may take to confirm a subscription, a message of ours, or that we leave."""

SESSION_EXPIRY_SECONDS: Final = 7 * 86400
"""How long the broker keeps the queue of an absent controller (MQTT 5; on 3.1.1 the broker decides)."""

WILL_DELAY_SECONDS: Final = 5
"""A controller that is back within this was never away (MQTT 5)."""

PACKET_BYTES_MAX: Final = 16 * 1024 * 1024
"""The broker drops what is larger (MQTT 5). Far above what is accepted, so that normal mistakes reach quarantine."""

INFLIGHT_MAX_OLD: Final = 20
"""What a broker that speaks 3.1.1 may be expected to send before it wants an acknowledgement."""

USED_OF_PAHO: Final = ("ack", "manual_ack_set", "loop_misc", "on_connect", "on_socket_register_write", "socket")


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of an encrypted connection; all optional: the system's CAs check the broker then."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """How the broker is reached."""

    host: str
    port: int
    client_id: str
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    keepalive_seconds: int = 15
    receive_max: int = 400
    """Messages the broker may send before it wants an acknowledgement (MQTT 5): at least two batches."""
    payload_bytes_max: int = 1024 * 1024
    """Of a larger payload only the beginning is kept."""

    @property
    def is_old(self) -> bool:
        return self.protocol == "3.1.1"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is published."""

    topic: str
    payload: bytes
    is_retained: bool = False


class Connection:
    """From the broker's welcome until the connection is lost or left. Made by :func:`connect`."""

    def __init__(self, client: aiomqtt.Client, paho: PahoClient, inbox: Inbox, link: Link) -> None:
        self._client = client
        self._paho = paho
        self._inbox = inbox
        self._link = link
        self.has_session = False
        """Whether the broker had kept our session: without it, what was published in between may be lost."""

    def take_discarded(self) -> int:
        """Return how many messages of QoS 0 found the inbox full since the last call."""
        count, self._inbox.discarded = self._inbox.discarded, 0
        return count

    async def subscribe(self, pattern: str) -> None:
        """Subscribe at QoS 1, and receive what is retained. Raises BrokerLostError when the broker refuses."""
        options = None if self._link.is_old else SubscribeOptions(qos=1, noLocal=True, retainHandling=0)
        with _translated(self._link):
            # paho takes the one or the other.
            qos = 1 if options is None else 0
            answers = await self._client.subscribe(pattern, qos=qos, options=options, timeout=ANSWER_SECONDS)
        granted = [answer.value if isinstance(answer, ReasonCode) else answer for answer in answers]
        if granted != [1]:
            raise BrokerLostError(self._link.address, f"the broker does not grant {pattern} at QoS 1: {granted}")

    async def receive(self, count_max: int, linger_seconds: float) -> Sequence[Received]:
        """Wait for a message, and ``linger_seconds`` for more; return what is there, in order of arrival.

        Raises:
            BrokerLostError: the connection is lost, and everything that arrived before has been returned.
        """
        if self._inbox.is_overflown:
            raise BrokerLostError(self._link.address, f"more than {INBOX_MAX} messages without acknowledgement")
        with _translated(self._link):
            # The queue is ours, and what comes out is what we put in. The iterator adds the end of the connection.
            first = cast("Received", await anext(self._client.messages))
        if count_max > 1:
            await self._inbox.wait_for(count_max - 1, linger_seconds)
        more = min(self._inbox.qsize(), count_max - 1)
        return [first, *(self._inbox.get_nowait() for _ in range(more))]

    def acknowledge(self, batch: Sequence[Received]) -> None:
        """Confirm messages, in their order (MQTT 5, 4.6). On a lost connection nothing happens."""
        for received in batch:
            if received.qos:
                self._paho.ack(received.packet_id, received.qos)

    async def publish(self, message: Message) -> None:
        """Publish at QoS 1; return when the broker has confirmed it. Raises BrokerLostError."""
        with _translated(self._link):
            await self._client.publish(
                message.topic, message.payload, qos=1, retain=message.is_retained, timeout=ANSWER_SECONDS
            )


@contextlib.asynccontextmanager
async def connect(link: Link, *, will: Message, farewell_seconds: float) -> AsyncIterator[Connection]:
    """Connect, keeping the session of earlier connections; leave properly, after publishing ``will`` by ourselves.

    Raises:
        BrokerLostError: not reached, not let in, or lost.
    """
    inbox = Inbox(link.payload_bytes_max)
    client = await _build(link, will, inbox)
    paho = _paho_of(client)
    paho.manual_ack_set(True)
    paho.disable_logger()  # it logs as errors what it raises or returns as well: a broker that went
    connection = Connection(client, paho, inbox, link)
    _note_session(paho, connection)
    _register_at_once(paho)
    _look_every_second(paho)
    async with contextlib.AsyncExitStack() as stack:
        with _translated(link):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await stack.enter_async_context(_leaving(client, link))
            except BaseException:
                # aiomqtt leaves the socket open when the broker does not answer.
                paho.disconnect()
                raise
        try:
            yield connection
        finally:
            # A broker that sees us leave does not publish the will.
            with contextlib.suppress(BrokerLostError, TimeoutError):
                async with asyncio.timeout(farewell_seconds):
                    await connection.publish(will)


@contextlib.asynccontextmanager
async def _leaving(client: aiomqtt.Client, link: Link) -> AsyncIterator[None]:
    """Enter the client; leave it without complaint when the connection is lost already."""
    _take_note_of_loss(client)
    await client.__aenter__()
    _take_note_of_loss(client)  # a new one, if it was lost in the moment in which it was made
    try:
        yield
    finally:
        with contextlib.suppress(BrokerLostError), _translated(link):
            await client.__aexit__(None, None, None)


def _take_note_of_loss(client: aiomqtt.Client) -> None:
    """Keep asyncio from complaining of a loss that nobody asked for.

    aiomqtt puts it into a future that only those see who wait for messages. Whoever was told otherwise, by a refused
    publication or an answer that did not come, leaves it behind, and so does aiomqtt if it comes before it has entered.
    """
    loss: asyncio.Future[None] = client._disconnected  # noqa: SLF001 - it offers no other way
    loss.add_done_callback(lambda done: None if done.cancelled() else done.exception())


async def _build(link: Link, will: Message, inbox: Inbox) -> aiomqtt.Client:
    try:
        tls = await asyncio.to_thread(_tls_context, link.tls) if link.tls else None
    except OSError as error:
        raise BrokerLostError(link.address, f"TLS: {error}") from error
    common: dict[str, Any] = {
        "hostname": link.host,
        "port": link.port,
        "identifier": link.client_id,
        "username": link.username,
        "password": link.password,
        "keepalive": link.keepalive_seconds,
        "timeout": ANSWER_SECONDS,
        "tls_context": tls,
        # A public parameter, asked for an object that holds the messages: it need not be a class.
        "queue_type": lambda maxsize: inbox,  # noqa: ARG005 - called by keyword
    }
    if link.is_old:
        last_words = aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.is_retained)
        return aiomqtt.Client(**common, protocol=aiomqtt.ProtocolVersion.V311, clean_session=False, will=last_words)
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_SECONDS
    properties.ReceiveMaximum = min(link.receive_max, INBOX_MAX)
    properties.MaximumPacketSize = PACKET_BYTES_MAX
    delay = _properties(PacketTypes.WILLMESSAGE)
    delay.WillDelayInterval = WILL_DELAY_SECONDS
    return aiomqtt.Client(
        **common,
        protocol=aiomqtt.ProtocolVersion.V5,
        # Not the library's default, which forgets our session, and all that waits in it, on the first connection.
        clean_start=False,
        properties=properties,
        will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.is_retained, properties=delay),
    )


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho has typed everything but this


def _paho_of(client: aiomqtt.Client) -> PahoClient:
    """Return the paho client inside: aiomqtt 2 offers no other way to acknowledge after the work is done."""
    paho = getattr(client, "_client", None)
    missing = [name for name in USED_OF_PAHO if not hasattr(paho, name)]
    assert isinstance(paho, PahoClient) and not missing, f"another aiomqtt than 2.5? missing: {missing}"  # noqa: PT018
    return paho


def _note_session(paho: PahoClient, connection: Connection) -> None:
    inform_aiomqtt = paho.on_connect
    assert inform_aiomqtt is not None

    def on_connect(
        client: PahoClient, userdata: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        connection.has_session = flags.session_present
        cast("Any", inform_aiomqtt)(client, userdata, flags, code, properties)

    paho.on_connect = on_connect


def _register_at_once(paho: PahoClient) -> None:
    """Have the loop told at once who wants to write.

    aiomqtt tells it with its next round. Where the broker dies in between, that is about a descriptor which is closed
    by then, or belongs to somebody else.
    """
    loop = asyncio.get_running_loop()
    here = threading.get_ident()

    def register(client: PahoClient, _userdata: Any, sock: Any) -> None:
        if threading.get_ident() == here:
            watch(client, sock)
        else:  # it connects, in a thread
            loop.call_soon_threadsafe(watch, client, sock)

    def watch(client: PahoClient, sock: Any) -> None:
        descriptor: int = sock.fileno()
        if descriptor >= 0 and client.socket() is sock:
            # uvloop may refuse: see _look_every_second, which notices in our stead.
            with contextlib.suppress(RuntimeError):
                loop.add_writer(descriptor, client.loop_write)

    paho.on_socket_register_write = register


def _look_every_second(paho: PahoClient) -> None:
    """Read whenever aiomqtt sees to its timers, whether or not the loop has called.

    A reset makes uvloop give up the socket without a word to those who wait for it: the loss would be noticed when the
    broker's silence has lasted for longer than the keepalive.
    """
    see_to_timers = paho.loop_misc

    def look() -> MQTTErrorCode:
        paho.loop_read()
        return see_to_timers()

    paho.loop_misc = look  # type: ignore[method-assign]


def _tls_context(files: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert_file is not None:
        context.load_cert_chain(files.cert_file, files.key_file)
    return context


@contextlib.contextmanager
def _translated(link: Link) -> Iterator[None]:
    """Turn the library's errors into ours, and let no cancellation get lost in it.

    Python 3.11's ``wait_for``, which it uses, drops a cancellation that comes together with the answer.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task is not None else 0
    try:
        with _in_our_words(link):
            yield
    except BrokerLostError:
        if task is not None and task.cancelling() > cancellations:
            raise asyncio.CancelledError from None
        raise
    if task is not None and task.cancelling() > cancellations:
        raise asyncio.CancelledError


@contextlib.contextmanager
def _in_our_words(link: Link) -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as error:
        raise BrokerLostError(link.address, str(error) or type(error).__name__) from error
    except TimeoutError as error:
        raise BrokerLostError(link.address, "no answer in time") from error
