"""A database without room: an absence, which is waited for, never a refusal of what was to be written."""

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from controller.domain.events import Incoming, Order, StreamAnnounced
from controller.domain.model import Key, StreamId
from controller.domain.retry import Backoff
from controller.errors import DatabaseUnavailableError
from controller.ingest.inbox import Received
from controller.ingest.recording import Arrival, Recorder
from controller.store import quarantine, record, streams
from controller.store.engine import Database
from controller.store.record import Recorded
from tests.fakes.domain_values import CAUSE, NOW, SOURCE, SPEC

PLENTY = 1 << 20
KEYS = 40


def limit_pages(session: Session, more: int) -> None:
    """Let the file grow by so many pages: what SQLite answers then is what it answers on a full disk."""
    used = session.execute(text("PRAGMA page_count")).scalar_one()
    session.execute(text(f"PRAGMA max_page_count = {used + more}"))


def arrivals() -> list[Arrival]:
    made = []
    for number in range(KEYS):
        key = Key(f"key-{number}")
        event = StreamAnnounced(source_id=SOURCE, spec=SPEC, order=Order(1, 1), boot_id="b1", key=key, cause=CAUSE)
        made.append(Arrival(Received(f"t/{key}", b"{}", 2, is_retained=False, qos=1, packet_id=number + 1), event))
    return made


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_events_wait_for_room_and_none_is_put_aside(database: Database) -> None:
    ids = count(1)
    refused = asyncio.Event()
    reasons: list[str] = []

    async def write(events: Sequence[Incoming]) -> Recorded:
        try:
            return await database.write(record.record, events, now=NOW, new_id=lambda: StreamId(f"id-{next(ids)}"))
        except DatabaseUnavailableError as error:
            reasons.append(error.detail)
            refused.set()
            raise

    await database.write(limit_pages, 0)
    recorder = Recorder(write, backoff=Backoff(0.01, 0.02))
    recording = asyncio.ensure_future(recorder.record(arrivals()))
    async with asyncio.timeout(10):
        await refused.wait()
    assert reasons[0] == "OperationalError: database or disk is full"
    assert not recording.done(), "nothing is acknowledged"
    assert recorder.trouble == reasons[0]
    assert not (await database.read(streams.desired)).runs, "nothing of it is written"

    await database.write(limit_pages, PLENTY)
    async with asyncio.timeout(10):
        await recording
    assert len((await database.read(streams.desired)).runs) == KEYS
    assert recorder.trouble == ""
    assert (recorder.unrecordable, await database.read(quarantine.count)) == (0, 0)
