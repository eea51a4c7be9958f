"""How a long-running process of this house is told to end: by a signal, as often as anybody likes to send it.

A supervisor, a terminal and a person in a hurry may each send one. The first counts; no later one cuts the end short.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping(*more: signal.Signals) -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM, SIGINT and ``more`` set; after the block they are ignored: what is left is the end.

    To be used in the main thread, within the running loop.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (*STOP_SIGNALS, *more)
    # Not by the loop's own handlers: the loop takes them down where it closes, and a second signal would kill.
    for number in numbers:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
