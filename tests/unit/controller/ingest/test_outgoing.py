"""What waits to be published: the newest truth per key, one request per source, each in its turn."""

import asyncio
import json
from dataclasses import replace

import pytest

from controller.domain.model import ANONYMOUS, Outcome, Reason, State
from controller.ingest import outgoing
from controller.ingest.outgoing import Entry, Outbox
from tests.fakes.domain_values import stream

pytestmark = pytest.mark.looptime


def make() -> Outbox:
    return Outbox(asyncio.get_running_loop().time)


async def everything(outbox: Outbox) -> list[tuple[str, str]]:
    """All that is due now, as (topic, state or command)."""
    taken = []
    while True:
        try:
            entry = await asyncio.wait_for(outbox.take(), 0.001)
        except TimeoutError:
            return taken
        said = json.loads(entry.message.payload or "{}")
        taken.append((entry.message.topic.removeprefix("penstock/v1/"), said.get("state") or said.get("command", "")))


async def test_a_state_tells_what_others_need_and_no_secret():
    ended = stream(
        State.CLOSED, reason=Reason.SOURCE_LOST, outcome=Outcome.FAILED, reason_detail="gone", labels=(("a", "b"),)
    )
    message = outgoing.state(ended)
    assert message.is_retained
    assert message.topic == f"penstock/v1/streams/{ended.key}/state"
    assert json.loads(message.payload) == {
        "key": ended.key,
        "id": ended.id,
        "source": ended.source_id,
        "epoch": ended.epoch,
        "state": "CLOSED",
        "reason": "source_lost",
        "outcome": "failed",
        "detail": "gone",
        "since": ended.state_since.isoformat(),
        "labels": {"a": "b"},
    }
    assert ended.spec.upstreams[0].url.encode() not in message.payload


async def test_of_one_key_only_the_newest_state_waits():
    outbox, first = make(), stream(State.PENDING, key="a", version=1)
    outbox.put_state(first)
    outbox.put_state(replace(first, key="b"))
    outbox.put_state(replace(first, state=State.LIVE, version=2))
    assert await everything(outbox) == [("streams/a/state", "LIVE"), ("streams/b/state", "PENDING")]


async def test_an_older_state_never_follows_a_newer_one():
    outbox, new = make(), stream(State.LIVE, epoch=2, version=1)
    outbox.put_state(new)
    outbox.put_state(replace(new, state=State.ENDED, epoch=1, version=9))
    assert [said for _, said in await everything(outbox)] == ["LIVE"]
    outbox.put_state(replace(new, state=State.ENDED, epoch=1, version=9))
    assert await everything(outbox) == []


async def test_with_a_new_connection_everything_may_be_told_again():
    outbox, known = make(), stream(State.LIVE)
    outbox.put_state(known)
    await everything(outbox)
    outbox.begin()
    outbox.put_state(known)
    assert [said for _, said in await everything(outbox)] == ["LIVE"]


async def test_a_forgotten_key_is_cleared():
    outbox = make()
    outbox.forget("gone")
    entry = await outbox.take()
    assert (entry.message.payload, entry.message.is_retained) == (b"", True)


@pytest.mark.parametrize("is_told", [False, True], ids=["waiting", "told"])
async def test_a_key_that_came_back_in_the_meantime_is_not_cleared(is_told):
    outbox = make()
    outbox.put_state(stream(State.PENDING))
    told = await everything(outbox) if is_told else []
    outbox.forget(stream().key)
    assert [said for _, said in told + await everything(outbox)] == ["PENDING"]


async def test_a_source_is_asked_once_a_minute_and_no_request_is_lost():
    outbox, clock = make(), asyncio.get_running_loop().time
    began = clock()
    outbox.ask_for_birth("s")
    outbox.ask_for_birth("s")
    assert await everything(outbox) == [("sources/s/command", "rebirth")]
    outbox.ask_for_birth("s")
    outbox.ask_for_birth("other")
    assert await everything(outbox) == [("sources/other/command", "rebirth")]
    entry = await outbox.take()
    assert entry.message == outgoing.rebirth("s")
    assert 59.9 < clock() - began < 60.1


async def test_what_is_due_does_not_wait_behind_what_is_not():
    outbox = make()
    outbox.ask_for_birth("s")
    await everything(outbox)
    outbox.ask_for_birth("s")
    taking = asyncio.gather(outbox.take())
    await asyncio.sleep(1)
    outbox.put_state(stream())
    [entry] = await taking
    assert entry.message.topic.endswith("/state")


async def test_a_source_is_told_of_a_stop_and_nobody_of_an_anonymous_one():
    outbox = make()
    stopped = stream(
        State.ENDED, source_id="s", announced_epoch=7, reason=Reason.OPERATOR_STOPPED, reason_detail="by bob"
    )
    outbox.tell_stopped(stopped)
    outbox.tell_stopped(replace(stopped, source_id=ANONYMOUS))
    outbox.ask_for_birth(ANONYMOUS)
    entry = await outbox.take()
    assert entry.message.topic == "penstock/v1/sources/s/command"
    assert not entry.message.is_retained
    assert json.loads(entry.message.payload) == {
        "command": "stop",
        "key": stopped.key,
        "epoch": 7,
        "reason": "operator_stopped",
        "detail": "by bob",
    }
    assert len(outbox) == 0


async def test_what_was_not_confirmed_comes_first_again():
    outbox = make()
    outbox.put_state(stream(State.LIVE, key="a"))
    outbox.put_state(stream(State.LIVE, key="b"))
    outbox.put_back(await outbox.take())
    assert [topic for topic, _ in await everything(outbox)] == ["streams/a/state", "streams/b/state"]


async def test_what_was_not_confirmed_gives_way_to_newer_news():
    outbox, known = make(), stream(State.PENDING, version=1)
    outbox.put_state(known)
    entry = await outbox.take()
    outbox.put_state(replace(known, state=State.LIVE, version=2))
    outbox.put_back(entry)
    assert [said for _, said in await everything(outbox)] == ["LIVE"]


async def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(outgoing, "WAITING_MAX", 2)
    outbox = make()
    for key in ("a", "b", "c"):
        outbox.put_state(stream(key=key))
    assert outbox.dropped == 1
    assert [topic for topic, _ in await everything(outbox)] == ["streams/b/state", "streams/c/state"]


def test_the_status_names_the_process():
    message = outgoing.status(is_online=True, boot_id="b1")
    assert (message.topic, message.is_retained) == ("penstock/v1/controller/status", True)
    assert json.loads(message.payload) == {"online": True, "boot_id": "b1"}


def test_an_entry_is_due_at_once_unless_it_says_otherwise():
    assert Entry(("state", "a"), outgoing.no_state("a")).due == 0.0
