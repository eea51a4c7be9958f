"""A process that does nothing but subscribe and record, to be killed: ``python -m tests.fakes.subscriber_process``.

Arguments: the database's URL, the broker's port, the version of MQTT, and the most messages a batch may hold.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, cast

from controller.domain import ids
from controller.domain.events import Incoming
from controller.domain.model import Key, Stream, StreamId
from controller.domain.retry import Backoff
from controller.domain.silence import Requests
from controller.ingest.connection import Link
from controller.ingest.outgoing import Outbox
from controller.ingest.subscriber import Pace, Subscriber
from controller.store import record, streams
from controller.store.engine import Database
from controller.store.record import Recorded

CLIENT_ID = "penstock-controller"
PACE = Pace(reconnect=Backoff(0.05, 0.5))


def new_id() -> StreamId:
    return ids.uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def build(
    database: Database,
    link: Link,
    *,
    pace: Pace = PACE,
    wake: Callable[[Recorded], None] = lambda _recorded: None,
    **options: Any,
) -> Subscriber:
    """Return a subscriber that is wired to a real database, and to nothing else."""

    async def write(events: Sequence[Incoming]) -> Recorded:
        return await database.write(record.record_now, events, new_id=new_id)

    async def read_states() -> Iterable[Stream]:
        desired = await database.read(streams.desired)
        return [run.stream for run in desired.runs]

    async def read_latest(keys: Collection[Key]) -> Iterable[Stream]:
        return [run.stream for run in (await database.read(streams.load_latest, keys)).values()]

    wiring: dict[str, Any] = {
        "boot_id": os.urandom(4).hex(),
        "write": write,
        "wake": wake,
        "read_states": read_states,
        "read_latest": read_latest,
        "outbox": Outbox(time.monotonic),
        "requests": Requests(),
        "pace": pace,
    }
    return Subscriber(link, **{**wiring, **options})


async def _main(url: str, port: int, protocol: str, batch_max: int) -> None:
    version = cast("Literal['5', '3.1.1']", protocol)
    link = Link("127.0.0.1", port, CLIENT_ID, protocol=version, receive_max=2 * batch_max)
    await build(Database(url), link, pace=Pace(batch_max=batch_max, reconnect=PACE.reconnect)).run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
