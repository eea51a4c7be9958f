"""From a request to a viewer of a started session: what both kinds of outputs do alike."""

import asyncio
from typing import Final
from uuid import uuid4

from aiohttp import web

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.errors import SessionOverError
from proxy.serve.answers import finished, not_yet
from proxy.session import Session, Viewer

USER_AGENT_CHARS_MAX: Final = 256


def new_viewer(request: web.Request, protocol: Output) -> Viewer:
    return Viewer(
        viewer_id=uuid4().hex,
        protocol=protocol,
        address=request.remote or "",
        user_agent=request.headers.get("User-Agent", "")[:USER_AGENT_CHARS_MAX],
        since=asyncio.get_running_loop().time(),
    )


async def started_feed(session: Session) -> Feed:
    """Wait until the session could give a viewer a picture; raise what to answer when it cannot."""
    try:
        await session.started()
    except SessionOverError:
        raise finished(session) from None
    if session.feed is None or not session.feed.joinable:
        raise not_yet(f"{session.key} shows no picture at the moment")
    return session.feed
