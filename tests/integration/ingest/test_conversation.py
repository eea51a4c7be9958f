"""What sources, the controller and its listeners say to each other through a real broker."""

import asyncio
import gc
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import pytest
import structlog

from controller.domain import silence
from controller.domain.lifecycle import Draft
from controller.domain.model import BootId, Cause, Key, ProxyId, Run, SourceId, State
from controller.domain.silence import Requests
from controller.errors import BrokerLostError
from controller.ingest import connection, outgoing
from controller.ingest.connection import Link, Tls, connect
from controller.ingest.outgoing import Outbox
from controller.ingest.topics import Rules
from controller.store import quarantine, sources, streams
from controller.store.engine import Database
from tests.fakes.broker import Mosquitto
from tests.fakes.domain_values import stream
from tests.fakes.mqtt import PREFIX, Source, running, until
from tests.fakes.ports import free_port
from tests.fakes.subscriber_process import CLIENT_ID, build
from tests.fakes.tcp import serving

ROOT = Path(__file__).parents[3]
both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def link_to(broker: Mosquitto, protocol: str = "5") -> Link:
    return Link("127.0.0.1", broker.port, CLIENT_ID, protocol=protocol)


async def find(database: Database, key: str) -> Run | None:
    return (await database.read(streams.load_latest, [key])).get(Key(key))


async def is_in_state(database: Database, key: str, state: State) -> bool:
    run = await find(database, key)
    return run is not None and run.stream.state is state


# Sources


async def test_the_shortest_of_conversations(mosquitto, database, source):
    """``mosquitto_pub`` by hand, without numbers, without a source."""
    async with running(build(database, link_to(mosquitto))):
        await source.say("streams/cam-7/started", {"upstreams": ["http://h/a.ts"]})
        await until(lambda: is_in_state(database, "cam-7", State.PENDING), "it is known")
        await source.say("streams/cam-7/ended")
        await until(lambda: is_in_state(database, "cam-7", State.CLOSED), "it has ended")


async def test_a_last_will_turns_streams_to_stalled_and_not_to_ended(mosquitto, database, source):
    status = f"{PREFIX}/sources/enc-1/status"
    will = aiomqtt.Will(status, json.dumps({"online": False, "boot_id": "b1"}), qos=1, retain=True)
    async with running(build(database, link_to(mosquitto))):
        async with source.client(will=will, keepalive=60) as encoder:
            await encoder.publish(status, json.dumps({"online": True, "boot_id": "b1"}), qos=1, retain=True)
            await source.start("cam-7", 1, 1)
            await until(lambda: is_in_state(database, "cam-7", State.PENDING), "it is known")
            await database.write(place, await find(database, "cam-7"))
            encoder._client.socket().shutdown(socket.SHUT_RDWR)  # gone without a word
            await until(lambda: is_in_state(database, "cam-7", State.STALLED), "the will is heard")
        await source.report(is_online=True)
        await until(lambda: is_in_state(database, "cam-7", State.STARTING), "it is back")


def place(session: object, run: Run) -> None:
    """Put a run on a proxy, as the control loop would."""
    now = datetime.now(UTC)
    draft = Draft(run, Cause("reconciler", "test"), now)
    draft.place(ProxyId("p1"), BootId("x"), generation=1, why="test")
    streams.save(session, [draft.change()], now=now)


async def test_a_retained_announcement_of_an_ended_run_starts_nothing(mosquitto, database, source):
    said = {"upstreams": ["http://h/a.ts"]}
    link = link_to(mosquitto)
    async with running(build(database, link)):
        await source.say("streams/cam-7/started", said, retain=True)
        await until(lambda: is_in_state(database, "cam-7", State.PENDING), "it is known")
        await source.say("streams/cam-7/ended")
        await until(lambda: is_in_state(database, "cam-7", State.CLOSED), "it has ended")
    async with running(build(database, link)) as subscriber:
        await until(lambda: subscriber.counts.verdicts["retained"] == 1, "the retained copy was looked at")
        assert await is_in_state(database, "cam-7", State.CLOSED)
        await source.say("streams/cam-7/started", said, retain=True)
        await until(lambda: is_in_state(database, "cam-7", State.PENDING), "said anew it counts, retained or not")


async def test_figures_take_the_same_road(mosquitto, database, source):
    async with running(build(database, link_to(mosquitto))) as subscriber:
        await source.start("cam-7", 1, 1)
        await source.say("sources/enc-1/streams/cam-7/stats", {"peers": 3}, qos=0)
        await until(lambda: subscriber.counts.verdicts["noted"] == 1, "the figures are written")


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        pytest.param("streams/cam 7/started", {"upstreams": ["demo:"]}, "not a key", id="a bad key"),
        pytest.param("streams/cam-7/started", b"\xff\x00", "not JSON", id="bytes"),
        pytest.param("streams/cam-7/started", b"x" * 10_000_000, "too large", id="10 MB"),
        pytest.param("weather", b"sunny", "no such topic", id="an unknown topic"),
        pytest.param("streams/cam-7/ended", b"{}", "switched off", id="a short topic, switched off"),
    ],
)
async def test_what_cannot_be_read_is_kept_and_blocks_nobody(make_broker, database, topic, payload, reason):
    broker = make_broker({"message_size_limit 1048576": ""})
    await broker.start()
    source = Source(broker.port)
    rules = Rules(allows_anonymous="switched off" not in reason)
    async with running(build(database, link_to(broker), rules=rules)) as subscriber:
        await source.say(topic, payload)
        await source.start("good", 1, 1)
        await until(lambda: is_in_state(database, "good", State.PENDING), "the next message is taken")
        await until(lambda: subscriber.counts.refused == 1, "and the one before is counted")
    [refusal] = (await database.read(quarantine.page)).items
    assert reason in refusal.message.reason
    assert refusal.message.topic == f"{PREFIX}/{topic}"
    sent = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert (refusal.message.payload_head, refusal.message.payload_bytes) == (sent[:4096], len(sent))


async def test_a_source_that_counts_from_the_beginning_is_asked_for_a_birth(mosquitto, database, source):
    async with running(build(database, link_to(mosquitto))), source.listening("sources/enc-1/command") as heard:
        await source.start("cam-7", 5, 1)
        source.boot_id = "b2"
        await source.start("cam-7", 1, 1)
        assert await heard.next() == ("sources/enc-1/command", {"command": "rebirth"})


async def test_requests_that_a_source_answers_and_those_that_it_leaves(mosquitto, database, source, monkeypatch):
    """A birth that nobody asked for proves nothing about answers; a request counts once the broker has it."""
    monkeypatch.setattr(outgoing, "BIRTH_SPACING_SECONDS", 0.0)
    requests, outbox, name = Requests(), Outbox(time.monotonic), SourceId("enc-1")

    async def bear(number: int) -> bool:
        await source.say("sources/enc-1/birth", {"boot_id": "b1", "seq": number, "streams": []})
        await until(lambda: subscriber.counts.verdicts["noted"] == number, "the birth is written")
        return (await database.read(sources.load, [name]))[name].answers_births

    async def leave(count: int) -> None:
        outbox.ask_for_birth(name)
        await until(lambda: requests.unanswered(name) == count, "the broker has the request")

    async with running(build(database, link_to(mosquitto), outbox=outbox, requests=requests)) as subscriber:
        assert not await bear(1)
        await leave(1)
        assert await bear(2)
        for count in (1, 2, 3):
            await leave(count)
        known = (await database.read(sources.load, [name]))[name]
        assert silence.is_due(known, requests.unanswered(name))
        mosquitto.stop(kill=True)
        await until(lambda: not subscriber.is_connected, "the connection is gone")
        await mosquitto.start()
        await until(lambda: subscriber.is_connected, "and back")
        assert requests.unanswered(name) == 0, "who knows what was said meanwhile"


async def test_a_source_is_told_that_its_stream_was_stopped(mosquitto, database, source):
    outbox = Outbox(time.monotonic)
    outbox.tell_stopped(stream(State.ENDED, announced_epoch=7))
    subscriber = build(database, link_to(mosquitto), outbox=outbox)
    async with source.listening("sources/enc-1/command") as heard, running(subscriber):
        topic, said = await heard.next()
    assert topic == "sources/enc-1/command"
    assert (said["command"], said["key"], said["epoch"]) == ("stop", "cam-7", 7)


# The controller's own words


@both
async def test_sources_hear_whether_a_controller_listens(mosquitto, database, source, protocol):
    link = link_to(mosquitto, protocol)
    async with source.listening("controller/status") as heard:
        for turns in ([False, True, False], [True, False]):  # the second connection finds its session kept
            async with running(build(database, link, boot_id="c1")):
                for online in turns[:-1]:
                    assert await heard.next() == ("controller/status", {"online": online, "boot_id": "c1"})
            assert await heard.next() == ("controller/status", {"online": turns[-1], "boot_id": "c1"})
    async with source.listening("controller/status") as late:
        assert await late.next() == ("controller/status", {"online": False, "boot_id": "c1"})


@pytest.mark.slow
@both
async def test_sources_hear_that_a_controller_was_killed(mosquitto, database_url, source, protocol):
    command = [
        sys.executable,
        "-m",
        "tests.fakes.subscriber_process",
        database_url,
        str(mosquitto.port),
        protocol,
        "50",
    ]
    async with source.listening("controller/status") as heard:
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        assert [(await heard.next())[1]["online"] for _ in range(2)] == [False, True]
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        _, said = await heard.next()
        assert said["online"] is False


@both
async def test_the_states_at_the_broker_are_put_right_with_every_connection(mosquitto, database, source, protocol):
    """News may have been lost with an earlier process, and the broker may have lost what it was told."""
    link = link_to(mosquitto, protocol)
    async with running(build(database, link)):
        for key in ("ended", "running"):
            await source.say(f"streams/{key}/started", {"upstreams": ["http://h/a.ts"]})
        await source.say("streams/ended/ended")
        await until(lambda: is_in_state(database, "ended", State.CLOSED), "it has ended")
    await source.say("streams/ended/state", {"state": "LIVE"}, retain=True)
    await source.say("streams/never-heard-of/state", {"state": "LIVE"}, retain=True)
    async with running(build(database, link)), source.listening("streams/+/state") as heard:
        told: dict[str, str | None] = {}

        async def is_right() -> bool:
            topic, said = await heard.next()
            told[topic.split("/")[1]] = said and said["state"]
            told.pop("never-heard-of", None)  # shown for a moment, or cleared before we listened
            return told == {"ended": "CLOSED", "running": "PENDING"}

        async def is_cleared() -> bool:
            async with source.listening("streams/never-heard-of/state") as late:
                try:
                    return (await late.next(0.5))[1] is None
                except TimeoutError:
                    return True

        await until(is_right, "the broker shows what the database says")
        await until(is_cleared, "the broker shows nothing of which the database knows nothing")


async def test_a_state_is_published_as_it_changes(mosquitto, database, source):
    outbox = Outbox(time.monotonic)
    subscriber = build(database, link_to(mosquitto), outbox=outbox)
    async with source.listening("streams/+/state") as heard, running(subscriber):
        outbox.put_state(stream(State.LIVE, version=3))
        topic, said = await heard.next()
        assert (topic, said["state"], said["key"]) == ("streams/cam-7/state", "LIVE", "cam-7")
        await until(lambda: subscriber.counts.published == 1, "the broker has confirmed it")


# Ways not to get in


async def test_it_waits_for_a_broker_that_is_not_there_yet(make_broker, database):
    broker = make_broker()
    subscriber = build(database, link_to(broker))
    with structlog.testing.capture_logs() as lines:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(subscriber.run())
            await until(lambda: len(lines) > 2, "some tries have failed")
            await broker.start()
            await until(lambda: subscriber.is_connected, "it is connected")
            task.cancel()
    assert [line["event"] for line in lines] == ["mqtt.disconnected"] * (len(lines) - 1) + ["mqtt.connected"]


async def test_a_broker_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with serving(say_nothing) as port:
        with pytest.raises(BrokerLostError):
            async with connect(
                Link("127.0.0.1", port, "c"), will=outgoing.status(is_online=False, boot_id="x"), farewell_seconds=1
            ):
                pass
        await asyncio.wait_for(ended.wait(), 5)  # the socket is not left behind


WELCOME = b"\x20\x03\x00\x00\x00"
"""The CONNACK of MQTT 5: no session, no error, no properties."""


@pytest.mark.parametrize("packets", [1, 2], ids=["when it has let us in", "when it is asked for something"])
async def test_a_broker_that_goes_leaves_no_error_behind(monkeypatch, packets):
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def welcome_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(WELCOME)
        for _ in range(1, packets):
            await reader.read(1 << 16)

    async with serving(welcome_and_go) as port:
        link = Link("127.0.0.1", port, "c")
        with pytest.raises(BrokerLostError):
            async with connect(link, will=outgoing.status(is_online=False, boot_id="x"), farewell_seconds=1) as made:
                await made.subscribe("#")
        del made
    gc.collect()
    assert complaints == []


async def test_a_wrong_password_is_told_and_not_shown(make_broker, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "penstock", "right"], check=True, capture_output=True
    )
    changes = {
        "allow_anonymous false": "allow_anonymous false",
        "password_file /mosquitto/config/passwords": f"password_file {passwords}",
    }
    broker = make_broker(changes)
    await broker.start()
    will = outgoing.status(is_online=False, boot_id="x")
    link = Link("127.0.0.1", broker.port, "c", username="penstock", password="wr0ng")
    with pytest.raises(BrokerLostError, match=r"(?i)not authori[sz]ed|password") as raised:
        async with connect(link, will=will, farewell_seconds=1):
            pass
    assert "wr0ng" not in str(raised.value)
    async with connect(
        Link("127.0.0.1", broker.port, "c", username="penstock", password="right"), will=will, farewell_seconds=1
    ):
        pass


def certify(folder: Path) -> Path:
    """Make a CA, and a certificate of it for 127.0.0.1, in a folder; return the CA's file."""
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run([*make, *name, *files], check=True, capture_output=True)
    return folder / "server.crt"


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
@both
async def test_tls_with_a_ca_of_ones_own(make_broker, tmp_path, database, protocol):
    ca_file = certify(tmp_path)
    key_file = tmp_path / "server.key"
    key_file.chmod(0o644)
    changes = {
        "#cafile /mosquitto/config/ca.crt": f"cafile {ca_file}",
        "#certfile /mosquitto/config/server.crt": f"certfile {ca_file}",
        "#keyfile /mosquitto/config/server.key": f"keyfile {key_file}",
    }
    broker = make_broker(changes)
    await broker.start()
    will = outgoing.status(is_online=False, boot_id="x")
    with pytest.raises(BrokerLostError, match="certificate verify failed"):
        async with connect(replace(link_to(broker, protocol), tls=Tls()), will=will, farewell_seconds=1):
            pass
    gc.collect()
    missing = Tls(ca_file=tmp_path / "missing")
    with pytest.raises(BrokerLostError, match="No such file"):
        async with connect(replace(link_to(broker, protocol), tls=missing), will=will, farewell_seconds=1):
            pass
    async with running(build(database, replace(link_to(broker, protocol), tls=Tls(ca_file=ca_file)))):
        said = json.dumps({"upstreams": ["demo:"]})
        trust = aiomqtt.TLSParameters(ca_certs=str(ca_file))
        async with aiomqtt.Client("127.0.0.1", broker.port, tls_params=trust) as encoder:
            await encoder.publish(f"{PREFIX}/streams/cam-7/started", said, qos=1)
        await until(lambda: is_in_state(database, "cam-7", State.PENDING), "it is known")


async def test_nobody_there():
    link = Link("127.0.0.1", free_port(), "c")
    with pytest.raises(BrokerLostError):
        async with connect(link, will=outgoing.status(is_online=False, boot_id="x"), farewell_seconds=1):
            pass
