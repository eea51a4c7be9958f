"""The beat at which upstreams are read: some twenty times a second, and all of them together.

What it costs to take bytes in depends on how often, hardly on how many. So what has come is left with the kernel until
the next beat; then one turn of the loop takes in all streams, and hands on what they brought.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakKeyDictionary

BEAT_SECONDS: Final = 0.05

Listener = Callable[[float], None]
"""Called with the loop's time. It raises nothing."""

_listeners: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Listener, None]]] = WeakKeyDictionary()
"""Of each loop; nothing, when nobody listens."""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call it at every beat. One timer serves all; two beats are never closer to each other than ``BEAT_SECONDS``."""
    loop = asyncio.get_running_loop()
    if loop not in _listeners:
        _listeners[loop] = {}
        loop.call_later(BEAT_SECONDS, _strike, loop)
    listeners = _listeners[loop]
    listeners[listener] = None
    try:
        yield
    finally:
        del listeners[listener]


async def next_beat() -> None:
    """Wait for it."""
    beat = asyncio.get_running_loop().create_future()

    def end(_now: float) -> None:
        if not beat.done():  # its waiter may have been cancelled
            beat.set_result(None)

    with listening(end):
        await beat


def _strike(loop: asyncio.AbstractEventLoop) -> None:
    listeners = _listeners[loop]
    now = loop.time()
    for listener in tuple(listeners):
        if listener in listeners:
            listener(now)
    if listeners:
        loop.call_later(BEAT_SECONDS, _strike, loop)
    else:
        del _listeners[loop]
