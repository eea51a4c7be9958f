"""The inbox is bounded and loses nothing that has to be acknowledged."""

import asyncio
from types import SimpleNamespace

import pytest

from controller.ingest import inbox as inboxes
from controller.ingest.inbox import Inbox


def message(number: int = 1, *, qos: int = 1, payload: bytes = b"{}") -> SimpleNamespace:
    return SimpleNamespace(topic=SimpleNamespace(value=f"t/{number}"), payload=payload, retain=0, qos=qos, mid=number)


def waiting(inbox: Inbox) -> list[str]:
    return [inbox.get_nowait().topic for _ in range(inbox.qsize())]


def test_messages_come_out_as_they_went_in():
    inbox = Inbox(100)
    inbox.put_nowait(message(7, payload=b"x" * 101))
    received = inbox.get_nowait()
    assert (received.topic, received.payload, received.payload_bytes) == ("t/7", b"x" * 100, 101)
    assert (received.qos, received.packet_id, received.is_retained) == (1, 7, False)


def test_figures_are_discarded_first(monkeypatch):
    monkeypatch.setattr(inboxes, "INBOX_UNCONFIRMED_MAX", 2)
    inbox = Inbox(100)
    for number in range(4):
        inbox.put_nowait(message(number, qos=0))
    inbox.put_nowait(message(9, qos=1))
    assert waiting(inbox) == ["t/0", "t/1", "t/9"]
    assert (inbox.discarded, inbox.is_overflown) == (2, False)


def test_a_broker_that_sends_more_than_agreed_overflows_it(monkeypatch):
    monkeypatch.setattr(inboxes, "INBOX_MAX", 2)
    inbox = Inbox(100)
    for number in range(3):
        inbox.put_nowait(message(number))
    assert waiting(inbox) == ["t/0", "t/1"]
    assert (inbox.discarded, inbox.is_overflown) == (0, True)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("arrivals", "seconds"),
    [
        pytest.param([], 0.5, id="nothing comes: the time runs out"),
        pytest.param([0.1], 0.5, id="too little comes: the time runs out"),
        pytest.param([0.1, 0.2], 0.2, id="enough comes: at once"),
    ],
)
async def test_a_batch_waits_for_its_size_or_its_time(arrivals, seconds):
    inbox, loop = Inbox(100), asyncio.get_running_loop()
    began = loop.time()
    for delay in arrivals:
        loop.call_later(delay, inbox.put_nowait, message())
    await inbox.wait_for(2, 0.5)
    assert loop.time() - began == pytest.approx(seconds, abs=0.01)


@pytest.mark.looptime
async def test_a_full_batch_waits_for_nothing():
    inbox, loop = Inbox(100), asyncio.get_running_loop()
    for _ in range(3):
        inbox.put_nowait(message())
    began = loop.time()
    await inbox.wait_for(2, 0.5)
    assert loop.time() == began
