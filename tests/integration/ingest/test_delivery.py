"""No acknowledged event is lost: acknowledgement follows the commit, through kills, outages and absence."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from controller.domain.events import Incoming
from controller.domain.model import Run, State
from controller.domain.verdicts import Verdict
from controller.errors import DatabaseUnavailableError
from controller.ingest.connection import Link
from controller.store import streams
from controller.store.engine import Database
from controller.store.record import Recorded
from tests.fakes.broker import Mosquitto
from tests.fakes.mqtt import PREFIX, Source, running, until
from tests.fakes.subscriber_process import CLIENT_ID, PACE, build

ROOT = Path(__file__).parents[3]
both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def link_to(broker: Mosquitto, protocol: str = "5") -> Link:
    return Link("127.0.0.1", broker.port, CLIENT_ID, protocol=protocol)


async def latest(database: Database, *keys: str) -> dict[str, Run]:
    return await database.read(streams.load_latest, keys)


async def is_known(database: Database, key: str) -> bool:
    return key in await latest(database, key)


async def left_at_the_broker(broker: Mosquitto, protocol: str) -> list[str]:
    """The topics of the events that the broker still holds for the controller: what was not acknowledged."""
    old = protocol == "3.1.1"
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client = aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        identifier=CLIENT_ID,
        protocol=aiomqtt.ProtocolVersion.V311 if old else aiomqtt.ProtocolVersion.V5,
        **({"clean_session": False} if old else {"clean_start": False, "properties": properties}),
    )
    client._client.manual_ack_set(True)  # look, and take nothing away
    found = []
    async with client:
        while True:
            try:
                message = await asyncio.wait_for(anext(client.messages), 0.5)
            except TimeoutError:
                return found
            # With MQTT 3.1.1 the controller's own words come back to it.
            if not message.topic.value.endswith(("/controller/status", "/state")):
                found.append(message.topic.value.removeprefix(f"{PREFIX}/"))


@both
async def test_an_event_is_acknowledged_after_its_commit_and_not_before(mosquitto, database, source, protocol):
    is_asked = asyncio.Event()

    async def write(events: Sequence[Incoming]) -> Recorded:
        is_asked.set()
        return await asyncio.Event().wait()

    async with running(build(database, link_to(mosquitto, protocol), write=write)):
        await source.start("cam-7", 1, 1)
        await asyncio.wait_for(is_asked.wait(), 10)
    assert await left_at_the_broker(mosquitto, protocol) == ["sources/enc-1/streams/cam-7/started"]

    async with running(build(database, link_to(mosquitto, protocol))) as subscriber:
        await until(lambda: subscriber.counts.verdicts.total() == 1, "the event is recorded")
    assert await left_at_the_broker(mosquitto, protocol) == []
    assert await is_known(database, "cam-7")


@both
async def test_more_events_than_may_be_in_flight_are_recorded_in_order(mosquitto, database, source, protocol):
    async with running(build(database, link_to(mosquitto, protocol))) as subscriber, source.client() as client:
        for seq in range(1, 101):
            payload = {"boot_id": "b1", "epoch": 1, "seq": seq, "upstreams": [f"http://h/{seq}.ts"]}
            await client.publish(f"{PREFIX}/sources/enc-1/streams/cam-7/started", json.dumps(payload), qos=1)
        await until(lambda: subscriber.counts.verdicts.total() == 100, "all events are recorded")
    assert subscriber.counts.verdicts == {"started": 1, "updated": 99}
    assert await left_at_the_broker(mosquitto, protocol) == []


@both
async def test_events_wait_while_nobody_listens(mosquitto, database, source, protocol):
    async with running(build(database, link_to(mosquitto, protocol))):
        pass
    await source.start("a", 1, 1)
    await source.start("b", 1, 1)
    await source.end("a", 1, 2)
    async with running(build(database, link_to(mosquitto, protocol))) as subscriber:
        await until(lambda: subscriber.counts.verdicts.total() == 3, "the waiting events are recorded")
    runs = await latest(database, "a", "b")
    assert {key: run.stream.state for key, run in runs.items()} == {"a": State.CLOSED, "b": State.PENDING}


async def test_events_survive_an_absent_database(mosquitto, database_url, source):
    is_away = threading.Event()

    def failpoint(name: str) -> None:
        if name == "commit.before" and is_away.is_set():
            raise DatabaseUnavailableError("away, for this test")

    database = Database(database_url, failpoint=failpoint)
    async with running(build(database, link_to(mosquitto))) as subscriber:
        is_away.set()
        for number in range(5):
            await source.start(f"k{number}", 1, 1)
        await until(lambda: subscriber.recorder.failures >= 3, "the database was tried")
        assert not await is_known(database, "k0")
        is_away.clear()
        await until(lambda: subscriber.counts.verdicts.total() == 5, "everything is recorded")
        assert subscriber.counts.connections == 1
    assert len(await latest(database, *(f"k{number}" for number in range(5)))) == 5
    await database.dispose()


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_it_comes_back_to_a_broker_that_was_away(mosquitto, database, source, kill):
    async with running(build(database, link_to(mosquitto))) as subscriber:
        await source.start("before", 1, 1)
        await until(lambda: is_known(database, "before"), "an event before")
        assert subscriber.heard_seconds > 0
        mosquitto.stop(kill=kill)
        await until(lambda: not subscriber.is_connected, "the loss is noticed")
        assert subscriber.heard_seconds == 0
        await asyncio.sleep(0.3)  # some tries fail
        await mosquitto.start()
        await until(lambda: subscriber.is_connected, "it is connected again")
        await source.start("after", 1, 1)
        await until(lambda: is_known(database, "after"), "an event after")


async def test_the_younger_of_two_controllers_takes_over(mosquitto, database, source):
    older = build(database, link_to(mosquitto))
    async with running(older), running(build(database, link_to(mosquitto))) as younger:
        await until(lambda: not older.is_connected or younger.counts.connections > 1, "one of them had to go")
    await source.start("cam-7", 1, 1)
    async with running(build(database, link_to(mosquitto))):
        await until(lambda: is_known(database, "cam-7"), "the session is still there")


# Kills


def script(
    keys: int, rng: random.Random
) -> tuple[list[tuple[str, dict[str, object]]], dict[str, tuple[int, bool, str]]]:
    """Return events, each with its topic, and what they leave behind: key -> epoch, whether it runs, its url."""
    events: list[tuple[str, dict[str, object]]] = []
    left: dict[str, tuple[int, bool, str]] = {}
    seqs: dict[str, int] = {}
    while len(events) < 1000:
        key = f"k{rng.randrange(keys)}"
        epoch, runs, url = left.get(key, (0, False, ""))
        seqs[key] = seqs.get(key, 0) + 1
        topic = f"{PREFIX}/sources/enc-1/streams/{key}"
        said: dict[str, object] = {"boot_id": "b1", "seq": seqs[key]}
        if runs and rng.random() < 0.5:
            left[key] = (epoch, False, url)
            events.append((f"{topic}/ended", {**said, "epoch": epoch}))
        else:
            epoch, url = (epoch if runs else epoch + 1), f"http://h/{len(events)}.ts"
            left[key] = (epoch, True, url)
            events.append((f"{topic}/started", {**said, "epoch": epoch, "upstreams": [url]}))
    return events, left


@contextmanager
def process(url: str, port: int, protocol: str) -> Iterator[Callable[[], None]]:
    """A subscriber in a process of its own; the callable kills it and starts another."""
    command = [sys.executable, "-m", "tests.fakes.subscriber_process", url, str(port), protocol, "50"]
    children = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)]

    def replace() -> None:
        children[-1].send_signal(signal.SIGKILL)
        assert children[-1].wait(10) == -signal.SIGKILL
        children.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))

    yield replace
    children[-1].kill()
    children[-1].wait(10)


@pytest.mark.slow
@both
async def test_a_subscriber_that_is_killed_in_a_flood_loses_nothing(mosquitto, database_url, database, protocol):
    rng = random.Random(7)
    events, expected = script(120, rng)
    kills = sorted(rng.sample(range(100, 950), 4))
    # The session has to exist before the first event.
    async with running(build(database, link_to(mosquitto, protocol))):
        pass
    with process(database_url, mosquitto.port, protocol) as kill_and_start:
        async with Source(mosquitto.port).client() as client:
            for number, (topic, payload) in enumerate(events):
                if number in kills:
                    await asyncio.to_thread(kill_and_start)
                await client.publish(topic, json.dumps(payload), qos=1, timeout=30)

        async def found() -> dict[str, tuple[int, bool, str]]:
            runs = (run.stream for run in (await latest(database, *expected)).values())
            return {s.key: (s.epoch, s.state.is_active, s.spec.upstreams[0].url) for s in runs}

        async def is_complete() -> bool:
            return await found() == expected

        await until(is_complete, "the database says what was published", 60)
    # What was recorded may have been killed before its acknowledgement: it comes again, and changes nothing.
    # Its farewell is read behind its acknowledgements: a busy broker reads one packet for each time it writes its store.
    subscriber = build(database, link_to(mosquitto, protocol), pace=replace(PACE, farewell_seconds=30))
    async with running(subscriber):
        expected["last"] = (1, True, "http://h/last.ts")  # stands behind all that comes again
        said = {"boot_id": "b1", "seq": 1, "epoch": 1, "upstreams": ["http://h/last.ts"]}
        async with Source(mosquitto.port).client() as client:
            await client.publish(f"{PREFIX}/sources/enc-1/streams/last/started", json.dumps(said), qos=1, timeout=30)
        # Nothing else begins here; what became of an event is counted after its acknowledgement.
        await until(lambda: subscriber.counts.verdicts[Verdict.STARTED] == 1, "the last one is acknowledged", 60)
    assert await found() == expected
    assert await left_at_the_broker(mosquitto, protocol) == []
    assert len(await database.read(all_runs)) == sum(epoch for epoch, _, _ in expected.values())


def all_runs(session: object) -> list[Run]:
    found: list[Run] = []
    cursor: str | None = None
    while True:
        page = streams.page(session, states=list(State), cursor=cursor, limit=500)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
