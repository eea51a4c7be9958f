"""Waits for a file descriptor, on any event loop."""

import asyncio


async def readable(descriptor: int, due: float | None = None) -> None:
    """Return when there is something to read or an end; at loop time ``due`` in any case."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _ring, came)
    try:
        async with asyncio.timeout_at(due):
            await came
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)


def _ring(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)
