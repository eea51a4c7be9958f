"""Places that a fault needs and that only root can make: a small disk, and a network that can be cut."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

IS_ROOT = os.geteuid() == 0
FILL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder, and why it cannot be filled up (empty: it can)."""

    folder: Path
    reason: str = ""

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> int:
        """Leave no byte free; return how many were."""
        written = 0
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (FILL_BYTES, 4096, 1):
                try:
                    while written < 1 << 30:
                        written += ballast.write(bytes(size))
                except OSError:
                    continue
        return written

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a small disk of its own at ``folder``, where that is allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
    refused = _refusal(mount)
    if refused:
        yield Disk(folder, f"no disk of its own: {refused}")
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True, slots=True)
class Plug:
    """A namespace with one cable to the others, or this machine itself, which has none."""

    address: str = "127.0.0.1"
    namespace: str = ""

    @property
    def prefix(self) -> list[str]:
        """What runs a command inside."""
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    def pull(self) -> None:
        """Cut it, from inside: both ends keep their addresses, and hear nothing of each other."""
        _ip("-n", self.namespace, "link", "set", "inside", "down")

    def push(self) -> None:
        _ip("-n", self.namespace, "link", "set", "inside", "up")


@dataclass(frozen=True, slots=True)
class Network:
    """A switch with a namespace for each part that can be cut off, and why there is none (empty: there is)."""

    plugs: Mapping[str, Plug] = field(default_factory=dict)
    here: str = "127.0.0.1"
    """Address of this machine, as everybody reaches it."""
    reason: str = ""

    def of(self, name: str) -> Plug:
        return self.plugs.get(name) or Plug(self.here)


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Make a switch and a namespace for each name, where that is allowed."""
    refused = "" if shutil.which("ip") else "ip is missing (apt-get install iproute2)"
    switch = f"pen{os.getpid()}"
    refused = refused or _refusal(["ip", "link", "add", switch, "type", "bridge"])
    if refused:
        yield Network(reason=f"no network of its own: {refused}")
        return
    base = f"10.213.{os.getpid() % 250}"
    plugs = {name: Plug(f"{base}.{number}", f"{switch}-{name}") for number, name in enumerate(names, 2)}
    try:
        _ip("addr", "add", f"{base}.1/24", "dev", switch)
        _ip("link", "set", switch, "up")
        for number, plug in enumerate(plugs.values()):
            _connect(plug, switch, f"{switch}.{number}")
        yield Network(plugs, f"{base}.1")
    finally:
        for plug in plugs.values():
            subprocess.run(["ip", "netns", "delete", plug.namespace], check=False, capture_output=True)
        _ip("link", "delete", switch)


def _connect(plug: Plug, switch: str, outside: str) -> None:
    _ip("netns", "add", plug.namespace)
    _ip("link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", plug.namespace)
    _ip("link", "set", outside, "master", switch, "up")
    _ip("-n", plug.namespace, "addr", "add", f"{plug.address}/24", "dev", "inside")
    _ip("-n", plug.namespace, "link", "set", "lo", "up")
    plug.push()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _refusal(command: list[str]) -> str:
    """Run a command that wants root; return why it did not work."""
    if not IS_ROOT:
        return "only root may make one"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""
