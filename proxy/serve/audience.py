"""Who watches over HLS: many requests, often over many connections, made one viewer again.

A viewer is known by the token in the addresses of its segments, or by the same token in a cookie. The playlist itself
is asked for without the token; a player without cookies is then known by its connection, else by having the same
address, forwarding header and user agent as one whose connection is closed. Never by its address alone: two viewers
behind one router are two as long as their connections live.
"""

import re
import secrets
from asyncio import BaseTransport, Transport, get_running_loop
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from proxy.contract import Output
from proxy.serve import tcp
from proxy.serve.answers import RefusedError
from proxy.serve.viewer import new_viewer
from proxy.session import Session, Viewer

COOKIE: Final = "penstock_viewer"
QUERY: Final = "v"
TARGETS_SILENT: Final = 3
"""A viewer that has asked for nothing during so many target durations has left."""
TARGET_SECONDS: Final = 4
"""Taken for the target duration while there is none."""
BANNED_SECONDS: Final = 60.0
"""A viewer that was sent away is not let in again for so long."""
CONNECTIONS_MAX: Final = 8
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16}")

_Group = tuple[str, str, str, str]


@dataclass(slots=True, eq=False)
class Visit:
    """One HLS viewer between its requests."""

    token: str
    viewer: Viewer
    session: Session
    group: _Group
    seen_at: float
    connections: deque[BaseTransport] = field(default_factory=lambda: deque(maxlen=CONNECTIONS_MAX))
    """Those that it last asked on."""
    answering: list[Transport] = field(default_factory=list)
    """The connections of its requests that are being answered."""
    served: bool = False
    """Whether it ever got an answer with media."""

    @property
    def is_disconnected(self) -> bool:
        return all(connection.is_closing() for connection in self.connections)

    def note_sent(self, size: int) -> None:
        self.viewer.bytes_sent += size

    def note_request(self, connection: BaseTransport | None, now: float) -> None:
        self.seen_at = now
        if connection is not None and connection not in self.connections:
            self.connections.append(connection)


class Audience:
    """All HLS viewers of this proxy."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._groups: dict[_Group, dict[str, Visit]] = {}

    def recognise(self, request: web.Request, session: Session, now: float) -> Visit:
        """Return the visit that this request belongs to, entering a new viewer when there is none.

        Raises RefusedError when the viewer has been sent away, and what ``Session.enter`` raises.
        """
        group = _group_of(request, session.key)
        token = request.query.get(QUERY) or request.cookies.get(COOKIE) or ""
        visit = self._visits.get(token) if token else self._guess(request, group)
        if visit is not None and visit.session is session:
            if visit.viewer.over.is_set():
                raise RefusedError(410, "this viewer has been sent away")
        else:
            if visit is not None:
                self._forget(visit)
            visit = self._welcome(request, session, token if _TOKEN.fullmatch(token) else "", group, now)
        visit.note_request(request.transport, now)
        return visit

    @contextmanager
    def answering(self, visit: Visit, request: web.Request) -> Iterator[None]:
        """Hold the visit while one of its requests is answered; it leaves when it never got anything."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        visit.answering.append(transport)
        try:
            yield
            visit.served = True
        finally:
            visit.answering.remove(transport)
            visit.seen_at = get_running_loop().time()
            if not visit.served and not visit.answering:
                self._forget(visit)

    def sweep(self, now: float) -> None:
        """Let those leave that are silent or have to go, and end what is still being sent to the latter."""
        for visit in tuple(self._visits.values()):
            has_to_go = visit.viewer.over.is_set()
            if has_to_go:
                visit.session.leave(visit.viewer)
                for transport in tuple(visit.answering):
                    tcp.reset(transport)
            limit = BANNED_SECONDS if has_to_go else _silence_seconds(visit.session)
            if not visit.answering and now - visit.seen_at > limit:
                self._forget(visit)

    def _guess(self, request: web.Request, group: _Group) -> Visit | None:
        candidates = self._groups.get(group, {}).values()
        for visit in candidates:
            if request.transport in visit.connections:
                return visit
        idle = [visit for visit in candidates if visit.is_disconnected and not visit.answering]
        idle.sort(key=lambda visit: (visit.viewer.over.is_set(), visit.seen_at))
        return next(iter(idle), None)

    def _welcome(self, request: web.Request, session: Session, token: str, group: _Group, now: float) -> Visit:
        viewer = new_viewer(request, Output.HLS)
        session.enter(viewer)
        visit = Visit(token or secrets.token_urlsafe(12), viewer, session, group, now)
        self._visits[visit.token] = visit
        self._groups.setdefault(group, {})[visit.token] = visit
        return visit

    def _forget(self, visit: Visit) -> None:
        visit.session.leave(visit.viewer)
        self._visits.pop(visit.token, None)
        members = self._groups.get(visit.group, {})
        members.pop(visit.token, None)
        if not members:
            self._groups.pop(visit.group, None)


def _group_of(request: web.Request, key: str) -> _Group:
    forwarded = request.headers.get("X-Forwarded-For", "")
    return key, request.remote or "", forwarded, request.headers.get("User-Agent", "")


def _silence_seconds(session: Session) -> float:
    cutter = session.feed.hls if session.feed is not None else None
    return TARGETS_SILENT * (cutter.target_seconds if cutter is not None else TARGET_SECONDS)
