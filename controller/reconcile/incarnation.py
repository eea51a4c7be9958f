"""Which process this is, in a word that others on the same machine can check.

A leader that was killed leaves its lease behind. Whoever shares its kernel need not wait until that expires: the name
``host/pid.start@place`` tells whether the process still is. Of a process elsewhere nothing is known, and nothing said.
"""

import os
import re
import secrets
from pathlib import Path

_CHECKABLE = re.compile(r".*/(?P<pid>\d+)\.(?P<start>\d+)@(?P<place>[0-9a-f]+)")

_STATE, _START = 0, 19
"""Places in /proc/PID/stat, counted behind the command (proc(5): fields 3 and 22)."""


def describe(name: str, proc: Path = Path("/proc")) -> str:
    """Return a name for this process that no other process ever had."""
    pid = os.getpid()
    place, fields = _read_place(proc), _read_stat(proc, pid)
    if place is None or fields is None:
        return f"{name}/{pid}.{secrets.token_hex(8)}"
    return f"{name}/{pid}.{fields[_START]}@{place}"


def is_known_dead(described: str, proc: Path = Path("/proc")) -> bool:
    """Whether that process ran on this machine, and is no more."""
    found = _CHECKABLE.fullmatch(described)
    if found is None or found["place"] != _read_place(proc):
        return False
    fields = _read_stat(proc, int(found["pid"]))
    return fields is None or fields[_START] != found["start"] or fields[_STATE] in "ZX"


def _read_place(proc: Path) -> str | None:
    """Return what tells one run of one kernel, and one space of process numbers, from all others."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        return f"{boot}{(proc / 'self/ns/pid').stat().st_ino:x}"
    except OSError:
        return None


def _read_stat(proc: Path, pid: int) -> list[str] | None:
    try:
        text = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
