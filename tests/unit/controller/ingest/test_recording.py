"""Nothing is given up: an absent database is waited for, and one bad event stops nobody else."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from controller.domain.events import Incoming, MessageRefused, StatsReported
from controller.domain.retry import Backoff
from controller.domain.verdicts import Verdict
from controller.errors import DatabaseError, DatabaseUnavailableError
from controller.ingest.inbox import Received
from controller.ingest.recording import Arrival, Recorder
from controller.store.record import Recorded

pytestmark = pytest.mark.looptime

POISON = "poison"


class Ledger:
    """A database as a recorder sees it: it takes a batch or refuses it as a whole."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.away_until = 0.0
        self.full_until = 0.0
        self.refused = 0

    async def write(self, events: Sequence[Incoming]) -> Recorded:
        now = asyncio.get_running_loop().time()
        if now < self.away_until:
            raise DatabaseUnavailableError("away")
        if now < self.full_until:
            raise DatabaseError("disk full")
        if any(_name(event) == POISON for event in events):
            self.refused += 1
            raise KeyError("a fault of ours")
        self.written += [_name(event) for event in events]
        return Recorded(tuple(Verdict.NOTED for _ in events), frozenset(), frozenset(), False, frozenset())


def _name(event: Incoming) -> str:
    if isinstance(event, MessageRefused):
        return f"quarantine:{event.topic}"
    assert isinstance(event, StatsReported)
    return event.key


def arrival(name: str) -> Arrival:
    received = Received(name, b"x" * 5000, 70_000, is_retained=False, qos=1, packet_id=1)
    return Arrival(received, StatsReported("s", name, ()))


def make(ledger: Ledger) -> Recorder:
    return Recorder(ledger.write, backoff=Backoff(0.1, 10.0))


@pytest.fixture(autouse=True)
def lines() -> list[dict[str, object]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def test_a_batch_is_one_transaction():
    ledger = Ledger()
    [recorded] = await make(ledger).record([arrival("a"), arrival("b")])
    assert ledger.written == ["a", "b"]
    assert recorded.verdicts == (Verdict.NOTED, Verdict.NOTED)


async def test_an_absent_database_is_waited_for(lines):
    ledger, clock = Ledger(), asyncio.get_running_loop().time
    ledger.away_until = clock() + 3600
    recorder = make(ledger)
    await recorder.record([arrival("a"), arrival("b")])
    assert ledger.written == ["a", "b"]
    assert 3600 <= clock() < 3611
    assert 300 < recorder.failures < 1000
    assert {line["event"] for line in lines} == {"mqtt.record_delayed"}


async def test_it_knows_for_how_long_and_why_events_wait():
    ledger, clock = Ledger(), asyncio.get_running_loop().time
    recorder = make(ledger)
    ledger.away_until = clock() + 60
    recording = asyncio.ensure_future(recorder.record([arrival("a")]))
    assert (recorder.trouble, recorder.delayed_seconds) == ("", 0.0)
    await asyncio.sleep(30)
    assert (bool(recorder.trouble), recorder.delayed_seconds) == (True, pytest.approx(30.0))
    await recording
    assert (recorder.trouble, recorder.delayed_seconds) == ("", 0.0)
    ledger.away_until = clock() + 60
    again = asyncio.ensure_future(recorder.record([arrival("b")]))
    await asyncio.sleep(7)
    assert recorder.delayed_seconds == pytest.approx(7.0), "it counts anew"
    await again


async def test_one_event_that_cannot_be_recorded_stops_no_other(lines):
    ledger = Ledger()
    recorder = make(ledger)
    recorded = await recorder.record([arrival("a"), arrival(POISON), arrival("b")])
    assert ledger.written == ["a", f"quarantine:{POISON}", "b"]
    assert [len(portion.verdicts) for portion in recorded] == [1, 1, 1]
    assert ledger.refused == 4  # once in company, three times alone
    assert recorder.unrecordable == 1
    assert [line["topic"] for line in lines if line["event"] == "mqtt.message_unrecordable"] == [POISON]


async def test_what_goes_to_quarantine_is_the_message_as_it_came():
    kept: list[Incoming] = []

    async def write(events: Sequence[Incoming]) -> Recorded:
        if not isinstance(events[0], MessageRefused):
            raise DatabaseError("no")
        kept.extend(events)
        return Recorded((Verdict.REFUSED,), frozenset(), frozenset(), False, frozenset())

    await Recorder(write).record([arrival("a")])
    [refused] = kept
    assert isinstance(refused, MessageRefused)
    assert (refused.topic, len(refused.payload_head), refused.payload_bytes) == ("a", 4096, 70_000)


async def test_a_full_disk_is_no_reason_to_put_good_events_into_quarantine():
    ledger, clock = Ledger(), asyncio.get_running_loop().time
    ledger.full_until = clock() + 600
    recorder = make(ledger)
    await recorder.record([arrival("a"), arrival("b")])
    assert ledger.written == ["a", "b"]
    assert recorder.unrecordable == 0


async def test_cancelling_ends_the_wait():
    ledger = Ledger()
    ledger.away_until = float("inf")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(make(ledger).record([arrival("a")]), 60)
    assert ledger.written == []
