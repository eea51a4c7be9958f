"""GET /hls/{key}/index.m3u8 and what it lists: segments out of the ring, as MPEG-TS or as fragmented MP4.

A viewer enters the session with its first playlist and leaves when it falls silent (see ``audience``). Segments are
ranges of the ring and sent as such (see ``ranges``), so a slow client holds no copy of one. The playlist of a stream
that was moved is a redirect to the proxy that carries it now; its segments are not: those of their numbers are others.
"""

import asyncio
import gzip
import hashlib
import re
from typing import Final

from aiohttp import web

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.core.playlist import MediaSegment
from proxy.errors import SessionOverError
from proxy.registry import Registry
from proxy.serve.answers import CORS, RefusedError, find_even_ended, finished, following, not_yet
from proxy.serve.audience import COOKIE, QUERY, Audience, Visit
from proxy.serve.ranges import send_range
from proxy.serve.viewer import started_feed
from proxy.session import Session

FIRST_SEGMENT_SECONDS: Final = 15.0
"""The first playlist waits so long for its first segment."""
FIRST_SEGMENT_STEP_SECONDS: Final = 0.1
FIRST_BYTES: Final = 4096
GZIP_LEVEL: Final = 6
PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
SEGMENT_TYPE: Final = "video/mp2t"
FRAGMENT_TYPE: Final = "video/mp4"
INITIALISATIONS: Final = frozenset({"mp4", "psi"})
PLAYLIST_HEADERS: Final = CORS | {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
SEGMENT_HEADERS: Final = CORS | {"Cache-Control": "max-age=3600, immutable"}
"""What a name stands for never changes: numbers only rise, and a segment is a range of bytes that nobody rewrites."""
OF_BODY: Final = frozenset({"Content-Type", "Content-Encoding"})
_NEVER: Final = re.compile(r"q\s*=\s*0(\.0*)?")
_SEGMENT_NAME: Final = re.compile(r"(\d{1,18})\.(ts|m4s|mp4|psi)")


class HlsDoor:
    """The handlers of one application."""

    def __init__(self, registry: Registry, audience: Audience) -> None:
        self._registry = registry
        self._audience = audience

    async def look(self, request: web.Request) -> web.StreamResponse:
        """HEAD: say whether the key is served, without opening its upstream."""
        key = request.match_info["key"]
        with following(self._registry, key):
            find_even_ended(self._registry, key, Output.HLS)
        return web.Response(headers=PLAYLIST_HEADERS, content_type=PLAYLIST_TYPE)

    async def playlist(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        with following(self._registry, key):
            session = find_even_ended(self._registry, key, Output.HLS)
            visit = self._recognise(request, session)
            with self._audience.answering(visit, request):
                text = await self._text(session, visit)
        return _playlist_response(request, text, visit)

    async def look_at_segment(self, request: web.Request) -> web.StreamResponse:
        session = find_even_ended(self._registry, request.match_info["key"], Output.HLS)
        name = request.match_info["segment"]
        _, segment = segment_of(session, name)
        if isinstance(segment, bytes):
            response = web.StreamResponse(headers=SEGMENT_HEADERS | {"Content-Type": _type_of(name)})
            response.content_length = len(segment)
            return response
        return web.StreamResponse(headers=segment_headers(segment))

    async def segment(self, request: web.Request) -> web.StreamResponse:
        session = find_even_ended(self._registry, request.match_info["key"], Output.HLS)
        name = request.match_info["segment"]
        feed, segment = segment_of(session, name)
        visit = self._recognise(request, session)
        feed.hold()
        try:
            with self._audience.answering(visit, request):
                if isinstance(segment, bytes):
                    return web.Response(body=segment, headers=SEGMENT_HEADERS, content_type=_type_of(name))
                return await _send(request, feed, segment, visit)
        finally:
            feed.release()

    def _recognise(self, request: web.Request, session: Session) -> Visit:
        try:
            return self._audience.recognise(request, session, asyncio.get_running_loop().time())
        except SessionOverError:
            raise finished(session) from None

    async def _text(self, session: Session, visit: Visit) -> str:
        """Return the playlist of this viewer, as soon as there is a segment to list."""
        query = f"?{QUERY}={visit.token}"
        if not session.over:
            await started_feed(session)
        try:
            async with asyncio.timeout(FIRST_SEGMENT_SECONDS):
                while (text := _render(session, query)) is None:  # noqa: ASYNC110 - the core is pure, it rings no bell
                    await asyncio.sleep(FIRST_SEGMENT_STEP_SECONDS)
        except TimeoutError:
            raise not_yet(f"{session.key} has no segment yet") from None
        return text


def _render(session: Session, query: str) -> str | None:
    """Return the playlist as of now, None when there is nothing in it yet; raise when there will be nothing."""
    text = session.feed.playlist(query, ended=session.over) if session.feed is not None else None
    if session.stopped or (session.over and text is None):
        raise finished(session)
    return text


def _playlist_response(request: web.Request, text: str, visit: Visit) -> web.StreamResponse:
    takes = takes_gzip(request.headers.get("Accept-Encoding", ""))
    headers, body = playlist_answer(text, visit, compressed=takes, cookie=request.cookies.get(COOKIE, ""))
    asked = request.if_none_match or ()
    if any(one.value in (_tag(text), "*") for one in asked):
        kept = {name: value for name, value in headers.items() if name not in OF_BODY}
        return web.Response(status=304, headers=kept)
    return web.Response(body=body, headers=headers)


def playlist_answer(text: str, visit: Visit, *, compressed: bool, cookie: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a playlist for a viewer who has this cookie."""
    body = text.encode()
    headers = PLAYLIST_HEADERS | {"Content-Type": PLAYLIST_TYPE, "ETag": f'W/"{_tag(text)}"'}
    if compressed:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    if cookie != visit.token:
        path = f"/hls/{visit.session.key}"
        headers["Set-Cookie"] = f"{COOKIE}={visit.token}; HttpOnly; Path={path}; SameSite=Lax"
    return headers, body


def _tag(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110, 12.5.3) names gzip, and not to refuse it."""
    for part in accepted.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        if coding == "gzip":
            return not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return False


def segment_of(session: Session, name: str) -> tuple[Feed, MediaSegment | bytes]:
    """Return the feed and what the name stands for: a segment, or the bytes of an initialisation."""
    match = _SEGMENT_NAME.fullmatch(name)
    feed = session.feed
    if match and feed is not None:
        number = int(match[1])
        found = feed.initialisation(number) if match[2] in INITIALISATIONS else feed.media_segment(number)
        if isinstance(found, bytes) or (found is not None and found.name == name):
            return feed, found
    raise RefusedError(404, f"{name} is not, or no longer, a segment of {session.key}")


def _type_of(name: str) -> str:
    return SEGMENT_TYPE if name.endswith((".ts", ".psi")) else FRAGMENT_TYPE


def segment_headers(segment: MediaSegment) -> dict[str, str]:
    return SEGMENT_HEADERS | {"Content-Type": _type_of(segment.name), "Content-Length": str(segment.size)}


async def _send(request: web.Request, feed: Feed, segment: MediaSegment, visit: Visit) -> web.StreamResponse:
    """Send one segment; end the connection when the ring drops it meanwhile."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    response = web.StreamResponse(headers=segment_headers(segment))
    await response.prepare(request)
    start = segment.start
    first = (
        segment.prefix or feed.ring.read(start, min(FIRST_BYTES, segment.size)) or b""
    )  # aiohttp's head goes with it
    start += 0 if segment.prefix else len(first)
    await response.write(first)
    visit.note_sent(len(first))
    await send_range(response, transport, feed.ring, start, segment.end, count=visit.note_sent)
    await response.write_eof()
    visit.viewer.position = segment.end
    return response
