"""The controller as a process: it ends when it is told to, whatever has just happened around it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.broker import Mosquitto
from tests.fakes.mqtt import until
from tests.fakes.ports import free_port

END_SECONDS = 5.0
"""A moment is expected; a machine under load may take longer. Who hangs takes for ever."""


@pytest.fixture
def controller(tmp_path: Path, broker: Mosquitto):
    log = tmp_path / "controller.log"
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    settings = {
        "PENSTOCK_DATA_DIR": str(tmp_path / "data"),
        "PENSTOCK_HTTP": f"127.0.0.1:{free_port()}",
        "PENSTOCK_PROXIES": f"http://127.0.0.1:{free_port()}",
        "PENSTOCK_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
        "PENSTOCK_CONTROL_TOKEN": "x" * 32,
        "PENSTOCK_LOG_FORMAT": "json",
    }
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-m", "controller", "controller"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=surroundings | settings, stdout=file, stderr=file)
    yield process, log
    process.kill()
    process.wait()


@pytest.mark.parametrize("order", ["broker first", "signal first"])
async def test_it_ends_when_its_broker_goes_in_the_same_moment(controller, broker, order):
    process, log = controller
    await until(lambda: b"mqtt.connected" in log.read_bytes(), "connected")
    steps = [lambda: broker.stop(kill=True), lambda: process.send_signal(signal.SIGTERM)]
    for step in steps if order == "broker first" else reversed(steps):
        step()
    began = time.monotonic()
    await asyncio.to_thread(process.wait, END_SECONDS * 4)
    assert process.returncode == 0, log.read_text()
    assert time.monotonic() - began < END_SECONDS
    assert b"controller.stopped" in log.read_bytes()


async def test_signals_that_repeat_do_not_change_the_exit_code(controller):
    process, log = controller
    await until(lambda: b"mqtt.connected" in log.read_bytes(), "connected")
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.0005)
    assert process.returncode == 0, log.read_text()
