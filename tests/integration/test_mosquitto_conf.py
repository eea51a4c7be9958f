"""The shipped Mosquitto configuration keeps what it promises, tried with the real broker.

The promise (docs/how-to/configure-mosquitto.md): no acknowledged QoS 1 event is lost while the controller is away, or
when the broker is restarted; a killed broker may lose only what it acknowledged in its very last pass.
"""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.fakes.ports import free_port

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TOPIC = "penstock/v1/sources/encoder-1/streams/cam-7/started"
PASSWORD = "only-for-this-test"
DEADLINE = 60
IDLE = 1.0
LATER_THAN_THE_DEFAULT_LIMIT = 1500  # Mosquitto keeps 1000 messages when nobody asks for more

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs the mosquitto binary")


def acl_of_the_page() -> str:
    page = (HOW_TO / "configure-mosquitto.md").read_text()
    found = re.search(r"```text\n(# acl.*?)```", page, re.DOTALL)
    assert found, "configure-mosquitto.md no longer shows the ACL file"
    return found[1]


class Broker:
    """The real broker on a loopback port, with the shipped file; only its addresses and paths are changed."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._config = home / "mosquitto.conf"
        self._log = home / "log"
        passwords = home / "passwords"
        for user in ("penstock", "encoder-1", "encoder-2"):
            command = [
                "mosquitto_passwd",
                "-b",
                *(() if passwords.exists() else ("-c",)),
                str(passwords),
                user,
                PASSWORD,
            ]
            subprocess.run(command, check=True, capture_output=True)
        (home / "acl").write_text(acl_of_the_page())
        changes = {
            "listener 1883": f"listener {self.port} 127.0.0.1",
            "password_file /mosquitto/config/passwords": f"password_file {passwords}",
            "#acl_file /mosquitto/config/acl": f"acl_file {home / 'acl'}",
            "persistence_location /mosquitto/data/": f"persistence_location {home}/",
        }
        text = (HOW_TO / "mosquitto.conf").read_text()
        for shipped, local in changes.items():
            assert text.count(f"{shipped}\n") == 1, f"mosquitto.conf lost the line {shipped!r}"
            text = text.replace(f"{shipped}\n", f"{local}\n")
        # Started by root, the broker would drop to a user that cannot enter pytest's folder.
        self._config.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stdout=log, stderr=log)
        async with asyncio.timeout(10):
            while True:
                assert self._process.poll() is None, self._log.read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    def end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(10)
        self._process = None


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path)
    await broker.start()
    yield broker
    broker.end(kill=True)


def client(broker: Broker, user: str, *, password: str = PASSWORD, keep_session: bool = False) -> aiomqtt.Client:
    properties = Properties(PacketTypes.CONNECT)
    if keep_session:
        properties.SessionExpiryInterval = 7 * 86400
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        username=user,
        password=password,
        identifier=user,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=not keep_session,
        properties=properties,
        max_inflight_messages=100,
        max_queued_incoming_messages=0,
    )


async def leave_a_session(broker: Broker) -> None:
    """Connect as the controller does, subscribe, and go away."""
    async with client(broker, "penstock", keep_session=True) as controller:
        await controller.subscribe("penstock/v1/#", qos=1)


async def publish(broker: Broker, count: int) -> None:
    """Return when every message is acknowledged by the broker."""
    async with client(broker, "encoder-1") as source, asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(source.publish(TOPIC, str(number), qos=1, timeout=DEADLINE))


async def come_back(broker: Broker) -> list[int]:
    """What the controller finds in its session, until nothing more comes."""
    found: list[int] = []
    async with client(broker, "penstock", keep_session=True) as controller:
        messages = aiter(controller.messages)
        while True:
            try:
                message = await asyncio.wait_for(anext(messages), IDLE)
            except TimeoutError:
                return found
            found.append(int(str(message.payload, "ascii")))


async def test_all_events_wait_for_a_controller_that_is_away(broker: Broker) -> None:
    await leave_a_session(broker)
    await publish(broker, LATER_THAN_THE_DEFAULT_LIMIT)
    assert await come_back(broker) == list(range(LATER_THAN_THE_DEFAULT_LIMIT))


async def test_all_events_survive_a_restart_of_the_broker(broker: Broker) -> None:
    await leave_a_session(broker)
    await publish(broker, 300)
    broker.end(kill=False)
    await broker.start()
    assert await come_back(broker) == list(range(300))


async def test_a_killed_broker_loses_at_most_its_last_pass(broker: Broker) -> None:
    await leave_a_session(broker)
    await publish(broker, 300)
    broker.end(kill=True)
    await broker.start()
    found = await come_back(broker)
    assert found == list(range(len(found)))
    assert len(found) >= 299  # one publisher has at most one message in a pass


@pytest.mark.parametrize(
    ("topic", "heard"),
    [
        pytest.param("penstock/v1/sources/encoder-1/status", True, id="a source writes below its own name"),
        pytest.param("penstock/v1/sources/encoder-2/status", False, id="a source cannot speak for another"),
        pytest.param("penstock/v1/streams/cam-7/started", False, id="the short form is closed to sources with a name"),
        pytest.param("penstock/v1/controller/status", False, id="only the controller says that it is there"),
        pytest.param("penstock/v1/sources/encoder-1/command", False, id="only the controller commands"),
    ],
)
async def test_the_shown_acl(broker: Broker, topic: str, *, heard: bool) -> None:
    async with client(broker, "penstock") as controller, client(broker, "encoder-1") as source:
        await controller.subscribe("penstock/v1/#", qos=1)
        await source.publish(topic, "mine", qos=0)
        await source.publish(TOPIC, "the end of the test", qos=0)
        async with asyncio.timeout(10):
            first = await anext(aiter(controller.messages))
    assert (first.topic.value == topic) is heard


async def test_the_controller_may_command_and_the_source_hears_it(broker: Broker) -> None:
    async with client(broker, "penstock") as controller, client(broker, "encoder-1") as source:
        await source.subscribe("penstock/v1/sources/encoder-1/command", qos=1)
        await controller.publish("penstock/v1/sources/encoder-1/command", "rebirth", qos=1)
        async with asyncio.timeout(10):
            assert (await anext(aiter(source.messages))).payload == b"rebirth"


async def test_nobody_enters_without_a_password(broker: Broker) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with client(broker, "encoder-1", password="guessed"):
            pass
