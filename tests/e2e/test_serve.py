"""`penstock serve` as people run it: real processes, real signals, ports of this machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from controller.cli import files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
STOP_SECONDS = 5.5
"""Five seconds for the processes, and what a busy machine needs to notice."""


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except FileNotFoundError:
        return ""


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    http: int
    media: int
    mqtt: int
    log: Path

    def children(self) -> dict[str, int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False)
        pids = [int(word) for word in found.stdout.split()]
        return {title(pid).removeprefix("penstock "): pid for pid in pids if title(pid).startswith("penstock ")}

    def ask(self, path: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
            return json.load(answer)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "Penstock is running" in self.log.read_text()

    def plays(self) -> bool:
        url = f"http://127.0.0.1:{self.media}/ts/demo"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=15) as viewer:
            return viewer.read(188)[0] == 0x47
        return False

    def replaced(self, name: str, before: int) -> bool:
        return self.children().get(name, before) != before

    def is_live(self) -> bool:
        return self.states().get("demo") == "LIVE"

    def states(self) -> dict[str, str]:
        with contextlib.suppress(OSError):
            return {stream["key"]: stream["state"] for stream in self.ask("/streams")["items"]}
        return {}


def command(folder: Path, http: int, media: int, mqtt: int, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "controller", "serve", "--data", str(folder / "data"), "--http", f"127.0.0.1:{http}",
        "--media", f"127.0.0.1:{media}", "--mqtt", f"127.0.0.1:{mqtt}", *more,
    ]  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path, *more: str) -> Iterator[Served]:
    http, media, mqtt = free_ports(3)
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command(folder, http, media, mqtt, *more), cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    served = Served(process, http, media, mqtt, log)
    children: dict[str, int] = {}
    try:
        until(served.ready, START_SECONDS, "ready")
        children = served.children()
        yield served
    finally:
        for pid in (*{**children, **served.children()}.values(), process.pid):
            with contextlib.suppress(ProcessLookupError):
                if title(pid).startswith("penstock "):  # a number may have been given to another process
                    os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_the_demo_plays_and_everything_stops_within_five_seconds(tmp_path):
    with serving(tmp_path, "--demo") as served:
        until(served.is_live, START_SECONDS, "the demo is LIVE")
        children = served.children()
        assert set(children) == {"broker", "controller", "proxy", "demo"}
        assert title(served.process.pid) == "penstock serve"
        with urllib.request.urlopen(f"http://127.0.0.1:{served.media}/ts/demo", timeout=15) as viewer:
            assert viewer.read(188)[0] == 0x47
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(timeout=STOP_SECONDS) == 0
            assert time.monotonic() - began < STOP_SECONDS
        assert not [name for name, pid in children.items() if alive(pid)]
        assert "Traceback" not in served.log.read_text()


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path):
    with serving(tmp_path) as served:
        children = served.children()
        assert set(children) == {"broker", "controller", "proxy"}
        served.process.kill()
        served.process.wait()
        until(lambda: not any(alive(pid) for pid in children.values()), 10, "all children have ended")


def test_whatever_dies_comes_back_and_the_demo_plays_again(tmp_path):
    with serving(tmp_path, "--demo") as served:
        until(served.is_live, START_SECONDS, "the demo is LIVE")
        for victim in ("controller", "proxy", "broker", "demo"):
            before = served.children()[victim]
            os.kill(before, signal.SIGKILL)
            until(partial(served.replaced, victim, before), 15, f"another {victim}")
            until(served.is_live, START_SECONDS, f"LIVE after {victim} died")
            until(served.plays, START_SECONDS, f"it plays after {victim} died")
        assert served.log.read_text().count("process.died") == 4


def test_a_taken_port_is_one_line_and_exit_code_2(tmp_path):
    http, media, mqtt = free_ports(3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", media))
        taken.listen()
        done = subprocess.run(
            command(tmp_path, http, media, mqtt), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"penstock: 127.0.0.1:{media} is taken by another program; choose another with --media HOST:PORT\n"
    )


def test_a_data_folder_is_served_once(tmp_path):
    files.make_data_dir(tmp_path / "data")
    with files.locked(tmp_path / "data"):
        done = subprocess.run(
            command(tmp_path, *free_ports(3)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert "another `penstock serve` uses the data folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_start_finds_its_history(tmp_path):
    with serving(tmp_path, "--demo") as served:
        until(served.is_live, START_SECONDS, "the demo is LIVE")
        first = served.ask("/streams/demo")["id"]
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=STOP_SECONDS) == 0
    with serving(tmp_path, "--demo") as served:
        until(served.is_live, START_SECONDS, "the demo is LIVE")
        assert served.ask("/streams/demo")["id"] != first
        old = served.ask(f"/streams/{first}")
        assert old["state"] == "CLOSED"
        assert old["reason"] == "source_ended"
