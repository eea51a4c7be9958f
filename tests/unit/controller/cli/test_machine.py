"""What `penstock serve` runs, and what it tells each process."""

import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller import settings
from controller.cli import machine
from controller.errors import StartupError
from controller.settings import Address
from proxy import settings as proxy_settings
from tests.fakes.tcp import serving

OPTIONS = {
    "data_dir": "data", "http": "127.0.0.1:8080", "media": "127.0.0.1:8090", "mqtt": "127.0.0.1:1883", "mqtt_url": None,
    "database_url": None, "demo": False,
}  # fmt: skip


def read(**options) -> machine.Machine:
    return machine.read(**{**OPTIONS, **options})


def test_the_embedded_broker_is_what_the_controller_is_told():
    here = read(mqtt="127.0.0.1:1999")
    told = machine.tell_controller(here, "secret")
    assert told["MQTT_URL"] == "mqtt://127.0.0.1:1999"
    assert told["MQTT_PROTOCOL"] == "3.1.1"
    assert dict(here.listeners)["--mqtt"] == Address("127.0.0.1", 1999)


def test_a_broker_of_ones_own_replaces_it():
    here = read(mqtt_url="mqtts://u:p@broker")
    told = machine.tell_controller(here, "secret")
    assert told["MQTT_URL"] == "mqtts://u:p@broker"
    assert "MQTT_PROTOCOL" not in told
    assert "--mqtt" not in dict(here.listeners)


@pytest.mark.parametrize("where", ["0.0.0.0:1883", "192.0.2.1:1883", "[::]:1883"])
def test_the_embedded_broker_is_not_shown_to_other_machines(where):
    with pytest.raises(StartupError, match="--mqtt-url"):
        read(mqtt=where)


@pytest.mark.parametrize("option", ["http", "media", "mqtt"])
def test_a_bad_address_names_its_option(option):
    with pytest.raises(StartupError, match=f"^--{option}: "):
        read(**{option: "nonsense"})


def test_both_houses_understand_what_they_are_told(monkeypatch):
    here = read(media="0.0.0.0:8099", database_url="postgresql://h/n")
    controller = settings.load({name.lower(): value for name, value in machine.tell_controller(here, "secret").items()})
    assert controller.proxies == ("http://127.0.0.1:8099",)
    assert controller.database_url == "postgresql+psycopg://h/n"
    told = {**machine.advise_proxy(controller), **machine.tell_proxy(here, "secret")}
    for name, value in told.items():
        monkeypatch.setenv(f"{machine.PROXY_PREFIX}{name}", value)
    proxy = proxy_settings.load()
    assert str(proxy.http) == "0.0.0.0:8099"
    assert proxy.control_secret == controller.control_secret == "secret"
    assert proxy.id == machine.PROXY_ID
    assert proxy_settings.PREFIX == machine.PROXY_PREFIX


def test_a_taken_port_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            machine.refuse_taken("--http", Address("127.0.0.1", port))
    assert caught.value.detail == (
        f"127.0.0.1:{port} is taken by another program; choose another with --http HOST:PORT"
    )
    machine.refuse_taken("--http", Address("127.0.0.1", port))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(StartupError, match="cannot be used"):
        machine.refuse_taken("--media", Address("192.0.2.1", 8090))


@asynccontextmanager
async def answering_with(reply: bytes):
    async def answer(reader, writer):
        await reader.read(64)
        writer.write(reply)
        await writer.drain()

    async with serving(answer) as port:
        yield Address("127.0.0.1", port)


@pytest.mark.parametrize(
    ("reply", "is_ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Later\r\n\r\n", False),
        (b"", False),
        (b"SSH-2.0-x\r\n", False),
    ],
    ids=["ready", "not yet", "silence", "another program"],
)
async def test_a_server_is_ready_when_it_says_200(reply, is_ready):
    async with answering_with(reply) as address:
        assert await machine.answers_ok(address, "/readyz") is is_ready


async def test_a_broker_is_ready_when_it_lets_a_client_in():
    async with answering_with(b"\x20\x02\x00\x00") as address:
        assert await machine.accepts_mqtt(address)
    async with answering_with(b"\x20\x02\x00\x05") as address:
        assert not await machine.accepts_mqtt(address)


def test_stages_begin_with_the_broker_and_end_with_the_demo():
    def names(here: machine.Machine) -> list[list[str]]:
        return [[child.name for child in stage] for stage in machine._stages(here)]

    assert names(read(demo=True)) == [["broker"], ["proxy", "controller"], ["demo"]]
    assert names(read(mqtt_url="mqtt://b")) == [["proxy", "controller"]]


def test_the_welcome_says_what_to_open():
    text = machine._welcome(read(demo=True, http="0.0.0.0:8080"))
    assert "http://127.0.0.1:8080/" in text
    assert "http://127.0.0.1:8090/ts/demo" in text
    assert "mqtt://127.0.0.1:1883" in text
    assert "p@ss" not in machine._welcome(read(mqtt_url="mqtt://u:p@ss@h"))


def test_data_is_a_path():
    assert read(data_dir="x/y").data_dir == Path("x/y")
