"""Ports for processes that are started a moment later.

Not those that the system gives out: it gives them to outgoing connections, too, and one of those may have taken the
port before the process listens. Nor any twice.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator

FIRST, LAST = 10_000, 32_000
"""Below Linux' own range for outgoing connections (32768 and above) and above those of known services."""


def _candidates() -> Iterator[int]:
    numbers = list(range(FIRST, LAST))
    random.Random(os.getpid()).shuffle(numbers)
    return itertools.cycle(numbers)


_next = _candidates()


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody uses now."""
    for port in itertools.islice(_next, LAST - FIRST):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no port of the loopback address is free")
