"""What needs no broker: floods are logged with measure. The loop itself is tried with real brokers, in integration."""

import asyncio

import pytest
import structlog

from controller.domain.events import MessageRefused
from controller.ingest import subscriber

pytestmark = pytest.mark.looptime


async def test_a_flood_of_refusals_is_logged_with_measure():
    refusals = subscriber._RefusalLog()
    with structlog.testing.capture_logs() as lines:
        for number in range(1000):
            refusals.note(MessageRefused(f"t/{number}", b"", 5, "not JSON"))
        await asyncio.sleep(subscriber.REFUSALS_LOGGED_SECONDS)
        refusals.note(MessageRefused("t/later", b"", 5, "not JSON"))
    assert len(lines) == subscriber.REFUSALS_LOGGED_MAX + 1
    assert {line["event"] for line in lines} == {"mqtt.message_refused"}
    assert (lines[-1]["topic"], lines[-1]["not_logged_before"]) == ("t/later", 990)
