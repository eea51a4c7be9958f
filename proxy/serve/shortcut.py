"""The short way for what HLS viewers ask for again and again: a known viewer's playlist, and segments.

A request that is no different from thousands before it is answered here from its bytes, without aiohttp's parser,
router and response. Whatever is not plainly one of those (another method, a body, a new viewer, anything that would be
refused or has to wait) is left alone: ``parse`` and the answers say None, and aiohttp's way decides.
"""

import asyncio
import re
from asyncio import Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.contract import Output
from proxy.errors import ViewerError
from proxy.registry import Registry
from proxy.serve import hls
from proxy.serve.answers import find_even_ended, plain_head
from proxy.serve.audience import COOKIE, QUERY, TOKEN, Audience, Visit
from proxy.serve.ranges import KernelSend
from proxy.session import Session

HEAD_BYTES_MAX: Final = 4096
PLAYLIST: Final = "index.m3u8"
LEFT_ALONE: Final = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "if-none-match"})
"""Requests with these are not as all others."""
_REQUEST: Final = re.compile(
    rb"GET /hls/([A-Za-z0-9._~-]+)/(index\.m3u8|[0-9]{1,18}\.(?:ts|m4s))(?:\?v=([A-Za-z0-9_-]{16}))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+:[\x20-\x7e]*\r\n)+)\r\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One such request."""

    key: str
    name: str
    token: str
    """Of the address, else of the cookie; empty when there is none."""
    cookie: str
    fields: dict[str, str]
    """Headers by their names in lower case."""


def parse(data: bytes) -> Asked | None:
    """Return what is asked for, when these bytes are one whole request of the plain kind."""
    match = _REQUEST.fullmatch(data) if len(data) <= HEAD_BYTES_MAX else None
    if match is None:
        return None
    key, name, token, block = (part.decode() if part else "" for part in match.groups())
    fields = {}
    lines = block[:-2].split("\r\n")
    for line in lines:
        field, _, value = line.partition(":")
        fields[field.lower()] = value.strip()
    if len(fields) < len(lines) or not fields.keys().isdisjoint(LEFT_ALONE):
        return None
    if fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    cookie = _cookie_in(fields.get("cookie", ""))
    return None if cookie is None else Asked(key, name, token or cookie, cookie, fields)


def _cookie_in(text: str) -> str | None:
    """Return our cookie's value, empty when there is none, None when that cannot be said easily."""
    if COOKIE not in text:
        return ""
    crumbs = [crumb.partition("=") for crumb in text.split("; ")]
    values = [value for name, _, value in crumbs if name == COOKIE]
    return values[0] if text.count(COOKIE) == len(values) == 1 and TOKEN.fullmatch(values[0]) else None


class Shortcut:
    """Answers for one application."""

    def __init__(self, registry: Registry, audience: Audience) -> None:
        self._registry = registry
        self._audience = audience

    def playlist(self, asked: Asked, transport: Transport, address: str) -> bytes | None:
        """Return the whole answer."""
        found = self._find(asked, transport, address)
        if found is None or not found[0].is_started:
            return None
        session, visit = found
        text = session.feed.playlist(f"?{QUERY}={visit.token}") if session.feed is not None else None
        if text is None:
            return None
        now = asyncio.get_running_loop().time()
        self._audience.note(visit, transport, now)
        visit.served = True
        compressed = hls.takes_gzip(asked.fields.get("accept-encoding", ""))
        headers, body = hls.playlist_answer(text, visit, compressed=compressed, cookie=asked.cookie)
        return plain_head(headers | {"Content-Length": str(len(body))}) + body

    def segment(
        self, asked: Asked, transport: Transport, address: str, ended: Callable[[OSError | None], None]
    ) -> KernelSend | None:
        """Return what sends the answer once it is begun. Until it has ended, it holds the viewer and the storage."""
        found = self._find(asked, transport, address)
        if found is None:
            return None
        session, visit = found
        try:
            feed, segment = hls.segment_of(session, asked.name)
        except ViewerError:
            return None
        if isinstance(segment, bytes):
            return None

        def end(error: OSError | None) -> None:
            if error is None:
                visit.served = True
                visit.viewer.position = segment.end
            self._audience.answered(visit, transport)
            feed.release()
            ended(error)

        self._audience.note(visit, transport, asyncio.get_running_loop().time())
        headers = hls.segment_headers(segment)
        head = plain_head(headers) + segment.prefix
        sending = KernelSend(
            transport, feed.ring, segment.start, segment.end, head=head, count=visit.note_sent, ended=end
        )
        visit.answering.append(transport)
        visit.note_sent(len(segment.prefix))
        feed.hold()
        return sending

    def hang_up(self, transport: Transport) -> None:
        """Let go of a connection that is lost."""
        self._audience.hang_up(transport)

    def _find(self, asked: Asked, transport: Transport, address: str) -> tuple[Session, Visit] | None:
        """Return who asks, when it is a viewer of the session that runs."""
        try:
            session = find_even_ended(self._registry, asked.key, Output.HLS)
        except ViewerError:
            return None
        who = address, asked.fields.get("x-forwarded-for", ""), asked.fields.get("user-agent", "")
        visit = self._audience.find(asked.token, asked.key, who, transport)
        if visit is None or visit.is_away or visit.session is not session or visit.viewer.over.is_set():
            return None
        return session, visit
