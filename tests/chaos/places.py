"""Places that a fault needs and that only root can make: a small disk, and a network that can be cut."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
class Network:
    """A namespace with one cable to this machine, and why there is none (empty: there is)."""

    namespace: str = ""
    here: str = "127.0.0.1"
    """Address of this machine, as the namespace reaches it."""
    there: str = "127.0.0.1"
    reason: str = ""

    @property
    def prefix(self) -> list[str]:
        """What runs a command inside."""
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    def pull(self) -> None:
        """Cut it, from inside: both ends keep their addresses, and hear nothing of each other."""
        _ip("-n", self.namespace, "link", "set", "inside", "down")

    def plug(self) -> None:
        _ip("-n", self.namespace, "link", "set", "inside", "up")


@contextmanager
def network() -> Iterator[Network]:
    """Make a namespace and a veth pair, where that is allowed."""
    name = f"penstock-{os.getpid()}"
    refused = "" if shutil.which("ip") else "ip is missing (apt-get install iproute2)"
    refused = refused or _refusal(["ip", "netns", "add", name])
    if refused:
        yield Network(reason=f"no network of its own: {refused}")
        return
    base = f"10.213.{os.getpid() % 250}"
    made = Network(name, f"{base}.1", f"{base}.2")
    outside = f"pen{os.getpid()}"
    try:
        _ip("link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", name)
        _ip("addr", "add", f"{made.here}/30", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", name, "addr", "add", f"{made.there}/30", "dev", "inside")
        _ip("-n", name, "link", "set", "lo", "up")
        made.plug()
        yield made
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _refusal(command: list[str]) -> str:
    """Run a command that wants root; return why it did not work."""
    if not IS_ROOT:
        return "only root may make one"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""
