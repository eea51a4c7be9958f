"""What ``penstock serve`` runs on this machine, and what each process is told.

A supervisor over the same processes that a cluster runs, on SQLite and an embedded MQTT broker. It carries no stream,
and decides about none.
"""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from controller import settings, signals, telemetry
from controller.cli import files, process, supervisor
from controller.cli.supervisor import Child, penstock
from controller.errors import StartupError
from controller.settings import Address, Settings, parse_address

MQTT_CONNECT = b"\x10\x14\x00\x04MQTT\x04\x02\x00\x05\x00\x08penstock"
MQTT_CONNACK = b"\x20\x02\x00\x00"
MQTT_DISCONNECT = b"\xe0\x00"
DEMO_KEY = "demo"
PROXY_PREFIX = "PENSTOCK_PROXY_"
PROXY_ID = "local"
"""Not the host's name, which on a laptop changes with the network."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs here, and where."""

    http: Address
    media: Address
    broker: Address | None
    """Where the embedded broker listens; None with a broker of one's own."""
    mqtt_url: str
    data_dir: Path
    database_url: str | None
    has_demo: bool

    @property
    def listeners(self) -> Iterator[tuple[str, Address]]:
        """Yield every address that must be free, with the option that changes it."""
        yield "--http", self.http
        yield "--media", self.media
        if self.broker is not None:
            yield "--mqtt", self.broker


def read(
    *, data_dir: str, http: str, media: str, mqtt: str, mqtt_url: str | None, database_url: str | None, demo: bool
) -> Machine:
    """Check the options of ``penstock serve``. Raises StartupError."""
    broker = None if mqtt_url else _parse_broker(mqtt)
    return Machine(
        http=_parse("--http", http),
        media=_parse("--media", media),
        broker=broker,
        mqtt_url=mqtt_url or f"mqtt://{broker}",
        data_dir=Path(data_dir),
        database_url=database_url,
        has_demo=demo,
    )


def run(machine: Machine) -> None:
    """Run all processes of the machine until SIGTERM, SIGINT or SIGHUP. Raises StartupError."""
    files.make_data_dir(machine.data_dir)
    with files.locked(machine.data_dir):
        control_token = files.control_token(machine.data_dir)
        told = tell_controller(machine, control_token)
        with process.refusing_to_start():  # rather here and once than in a child
            chosen = settings.load({name.lower(): value for name, value in told.items()})
        telemetry.configure(chosen.log_format, chosen.log_level)
        for option, address in machine.listeners:
            refuse_taken(option, address)
        environment = {
            **{f"{PROXY_PREFIX}{name}": value for name, value in advise_proxy(chosen).items()},
            **os.environ,
            **{f"{PROXY_PREFIX}{name}": value for name, value in tell_proxy(machine, control_token).items()},
            **{f"{settings.PREFIX}{name}": value for name, value in told.items()},
            process.SUPERVISOR_VARIABLE: str(os.getpid()),
        }
        asyncio.run(_run(machine, environment))


def tell_controller(machine: Machine, control_token: str) -> dict[str, str]:
    """Return the settings that follow from the machine, whatever the environment says."""
    told = {
        "DATA_DIR": str(machine.data_dir),
        "HTTP": str(machine.http),
        "MQTT_URL": machine.mqtt_url,
        "PROXIES": machine.media.url,
        "CONTROL_TOKEN": control_token,
    }
    if machine.broker is not None:
        told["MQTT_PROTOCOL"] = "3.1.1"
    if machine.database_url is not None:
        told["DATABASE_URL"] = machine.database_url
    return told


def tell_proxy(machine: Machine, control_token: str) -> dict[str, str]:
    """As ``tell_controller``, for the proxy."""
    return {"HTTP": str(machine.media), "CONTROL_TOKEN": control_token}


def advise_proxy(chosen: Settings) -> dict[str, str]:
    """Return what the proxy is set to unless the environment says otherwise."""
    return {"ID": PROXY_ID, "LOG_FORMAT": chosen.log_format, "LOG_LEVEL": chosen.log_level}


def refuse_taken(option: str, address: Address) -> None:
    """Raise StartupError when nobody can listen there: better told here, once, than by a child that dies."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise StartupError(f"{address} {why}; choose another with {option} HOST:PORT") from error


def _parse(option: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise StartupError(f"{option}: {error}") from error


def _parse_broker(text: str) -> Address:
    address = _parse("--mqtt", text)
    if not address.is_loopback:
        raise StartupError(
            f"--mqtt: the embedded broker lets everybody in, so it listens on loopback only, not on {address}; "
            "for sources on other machines run a broker such as Mosquitto and name it with --mqtt-url"
        )
    return address


async def _run(machine: Machine, environment: dict[str, str]) -> None:
    with signals.stopping(signal.SIGHUP) as stop:
        await supervisor.run_once("the database's migration", supervisor.penstock("db", "upgrade"), environment)
        await supervisor.keep(_stages(machine), environment, stop, lambda: click.echo(_welcome(machine)))


def _stages(machine: Machine) -> list[list[Child]]:
    broker, http, media = machine.broker, machine.http, machine.media
    stages = [
        [
            Child("proxy", penstock("proxy"), lambda: answers_ok(media, "/healthz")),
            Child("controller", penstock("controller"), lambda: answers_ok(http, "/readyz")),
        ]
    ]
    if broker is not None:
        stages.insert(0, [Child("broker", penstock("broker", "--bind", str(broker)), lambda: accepts_mqtt(broker))])
    if machine.has_demo:
        stages.append([Child("demo", penstock("demo", "--key", DEMO_KEY), _is_ready_at_once)])
    return stages


async def answers_ok(address: Address, path: str) -> bool:
    """Whether an HTTP server there answers with 200."""
    reader, writer = await asyncio.open_connection(address.connectable.host, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
    finally:
        writer.close()
    return status.split(b" ")[1:2] == [b"200"]


async def accepts_mqtt(address: Address) -> bool:
    """Whether an MQTT 3.1.1 broker there lets a client in."""
    reader, writer = await asyncio.open_connection(address.connectable.host, address.port)
    try:
        writer.write(MQTT_CONNECT)
        answer = await reader.readexactly(len(MQTT_CONNACK))
        writer.write(MQTT_DISCONNECT)
        await writer.drain()
    finally:
        writer.close()
    return answer == MQTT_CONNACK


async def _is_ready_at_once() -> bool:
    return True


def _welcome(machine: Machine) -> str:
    lines = [
        "Penstock is running. Ctrl-C stops it.",
        f"  page     {machine.http.url}/",
        f"  streams  {machine.http.url}/playlist.m3u   (VLC, Kodi, Jellyfin)",
        f"  sources  announce to {machine.mqtt_url if machine.broker else 'your MQTT broker'}",
    ]
    if machine.has_demo:
        lines.append(f"  demo     {machine.media.url}/ts/{DEMO_KEY}   (any player: vlc, ffplay, mpv)")
    return "\n".join(lines)
