"""The beat at which upstreams are read: some twenty times a second, and all of them together.

What it costs to take bytes in depends on how often, hardly on how many. So what has come is left with the kernel until
the next beat; then one turn of the loop takes in all streams, and hands on what they brought.
"""

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

BEAT_SECONDS: Final = 0.05

_waiting: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]] = WeakKeyDictionary()
"""Who waits for the next beat of a loop; nothing, when nobody does."""


async def next_beat() -> None:
    """Wait for it: with one timer for all who do. Two beats are never closer to each other than ``BEAT_SECONDS``."""
    loop = asyncio.get_running_loop()
    beat = loop.create_future()
    waiting = _waiting.get(loop)
    if waiting is None:
        _waiting[loop] = [beat]
        loop.call_later(BEAT_SECONDS, _strike, loop)
    else:
        waiting.append(beat)
    await beat


def _strike(loop: asyncio.AbstractEventLoop) -> None:
    for beat in _waiting.pop(loop):
        if not beat.done():  # its waiter may have been cancelled
            beat.set_result(None)
