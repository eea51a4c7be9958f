"""A process that does nothing but subscribe and record, to be killed: ``python -m tests.fakes.subscriber_process``.

Arguments: the database's URL, the broker's port, the version of MQTT, and the most messages a batch may hold.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Literal, cast

from controller.domain import ids
from controller.domain.events import Incoming
from controller.domain.model import StreamId
from controller.ingest.connection import Link
from controller.ingest.outgoing import Outbox
from controller.ingest.subscriber import Pace, Subscriber
from controller.store import record
from controller.store.engine import Database
from controller.store.record import Recorded

CLIENT_ID = "penstock-controller"


def new_id() -> StreamId:
    return ids.uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def build(database: Database, link: Link, pace: Pace) -> Subscriber:
    """Return a subscriber that records into a real database, and nothing else."""

    async def write(events: Sequence[Incoming]) -> Recorded:
        return await database.write(record.record_now, events, new_id=new_id)

    async def read_nothing(_keys: object = None) -> tuple[()]:
        return ()

    return Subscriber(
        link,
        boot_id=os.urandom(4).hex(),
        write=write,
        wake=lambda _recorded: None,
        read_states=read_nothing,
        read_latest=read_nothing,
        outbox=Outbox(time.monotonic),
        pace=pace,
    )


async def _main(url: str, port: int, protocol: str, batch_max: int) -> None:
    database = Database(url)
    version = cast("Literal['5', '3.1.1']", protocol)
    link = Link("127.0.0.1", port, CLIENT_ID, protocol=version, receive_max=2 * batch_max)
    await build(database, link, Pace(batch_max=batch_max)).run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
