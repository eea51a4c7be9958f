"""What has arrived and waits to be taken in: bounded, and without the loss of anything that has to be acknowledged.

It knows nothing of the MQTT library but the attributes of the messages that it is handed.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Final

from typing_extensions import override

INBOX_MAX: Final = 10_000
"""Messages that may wait. MQTT 5 never comes near: its receive maximum holds the broker back."""

INBOX_UNCONFIRMED_MAX: Final = 2_000
"""Messages that may wait for one of QoS 0 to be still accepted."""


@dataclass(frozen=True, slots=True)
class Received:
    """What has arrived."""

    topic: str
    payload: bytes
    payload_bytes: int
    """Its size on the wire: more than ``len(payload)`` when it was cut."""
    is_retained: bool
    qos: int
    packet_id: int


class Inbox(asyncio.Queue[Received]):
    """Where aiomqtt puts what arrives. Bounded: QoS 0 is discarded first, and nothing else ever is.

    A broker that sends more unacknowledged messages than agreed overflows it; the connection is then given up, and the
    broker sends them again.
    """

    def __init__(self, payload_bytes_max: int) -> None:
        super().__init__()
        self.discarded = 0
        """Messages of QoS 0 that found it full."""
        self.is_overflown = False
        self._payload_bytes_max = payload_bytes_max
        self._wanted = 0
        self._is_enough = asyncio.Event()

    @override
    def put_nowait(self, item: Any) -> None:
        """Take a message of aiomqtt's; called by the library, in the callback that reads the socket."""
        waiting = self.qsize()
        if item.qos == 0 and waiting >= INBOX_UNCONFIRMED_MAX:
            self.discarded += 1
            return
        if waiting >= INBOX_MAX:
            self.is_overflown = True
            return
        payload = item.payload
        kept = payload if len(payload) <= self._payload_bytes_max else payload[: self._payload_bytes_max]
        super().put_nowait(Received(item.topic.value, kept, len(payload), bool(item.retain), item.qos, item.mid))
        if waiting + 1 >= self._wanted:
            self._is_enough.set()

    async def wait_for(self, count: int, seconds: float) -> None:
        """Return when ``count`` messages wait, or after ``seconds``."""
        if self.qsize() >= count:
            return
        self._wanted = count
        self._is_enough.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_enough.wait()
