"""Server-sent events (WHATWG HTML, section 9.2): the transitions table, followed by id.

A follower reads what was committed after the last id it has sent, then waits for the pulse. Nothing is queued for it,
so that a slow one costs no memory: it reads on when its socket takes more. Ids grow in the order of commits, so that
none is skipped.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

from pydantic_core import to_json

from controller.api import render
from controller.api.pulse import TooManyFollowersError
from controller.api.services import Services
from controller.errors import DatabaseUnavailableError, InvalidError
from controller.store import history

MEDIA_TYPE = "text/event-stream"
HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

PING_SECONDS = 15.0
"""A comment is sent after this much silence, so that dead connections are found."""
RETRY_MILLISECONDS = 2000
BATCH_MAX = 200
ID_MAX = 2**63 - 1

PING = b": ping\n\n"
BYE = b"event: bye\ndata: {}\n\n"


def parse_id(text: str) -> int:
    """Read a ``Last-Event-ID``. Raises InvalidError for what is no id of ours."""
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= ID_MAX:
        return int(text)
    raise InvalidError("header.Last-Event-ID: not an id of this stream of events")


async def open_stream(services: Services, start: int | None) -> AsyncIterator[bytes]:
    """Take a place among the followers and return what to send. None starts with what happens from now on.

    Raises:
        TooManyFollowersError: all places are taken.
        DatabaseUnavailableError: the place to begin at cannot be read.
    """
    if services.pulse.is_full:
        raise TooManyFollowersError
    newest = await services.database.read(history.last_id)
    return _until_unavailable(_follow(services, newest if start is None else start, newest))


async def _follow(services: Services, start: int, newest: int) -> AsyncIterator[bytes]:
    with services.pulse.follow():
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS
        sent_id = start
        if start > newest:
            # The database is older than what the client has seen.
            sent_id = newest
            yield b"event: reset\nid: %d\ndata: {}\n\n" % newest
        clock = asyncio.get_running_loop().time
        ping_at = clock() + PING_SECONDS
        while not services.stopping.is_set():
            heard = services.pulse.rings
            entries = await services.database.read(history.follow, after_id=sent_id, limit=BATCH_MAX)
            if entries:
                sent_id = entries[-1].id
                yield b"".join(_event(entry) for entry in entries)
                ping_at = clock() + PING_SECONDS
            elif clock() >= ping_at:
                yield PING
                ping_at = clock() + PING_SECONDS
            else:
                await services.pulse.wait(heard, services.stopping, ping_at - clock())
        yield BYE


async def _until_unavailable(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """End the stream, rather than break it, when the database is away: the client comes back with its last id."""
    try:
        async for event in events:
            yield event
    except DatabaseUnavailableError:
        yield BYE


def _event(entry: history.Entry) -> bytes:
    return b"event: transition\nid: %d\ndata: %s\n\n" % (entry.id, to_json(render.transition(entry)))
