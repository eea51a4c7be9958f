"""Who watches over HLS: many requests, often over many connections, made one viewer again.

A viewer is known by the token in the addresses of its segments, or by the same token in a cookie. The playlist itself
is asked for without the token; a player without cookies is then known by its connection, else by having the same
address, forwarding header and user agent as one whose connection is closed. Never by its address alone: two viewers
behind one router are two as long as their connections live.

Nobody says goodbye over HLS. Whoever falls silent has left; at once whoever begins another stream on a connection of
its own, and soon whoever closes the connections that it used to keep. Both are guesses: who comes back all the same
is never again taken to have left before it is silent.
"""

import re
import secrets
from asyncio import BaseTransport, Transport, get_running_loop
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

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
HUNG_UP_SECONDS: Final = 1.0
"""Who used to ask again on its connections and has closed them all has left after so long."""
CONNECTIONS_MAX: Final = 8
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16}")

Outer = TypeVar("Outer", bound=Hashable)
Inner = TypeVar("Inner", bound=Hashable)

Who = tuple[str, str, str]
"""Address, forwarding header and user agent: what viewers without a token can be told apart by."""


@dataclass(slots=True, eq=False)
class Visit:
    """One HLS viewer between its requests."""

    token: str
    viewer: Viewer
    session: Session
    who: Who
    seen_at: float
    connections: deque[BaseTransport] = field(default_factory=deque)
    """Those that it last asked on and that are not lost."""
    answering: list[Transport] = field(default_factory=list)
    """The connections of its requests that are being answered."""
    served: bool = False
    """Whether it ever got an answer with media."""
    keeps_connections: bool = False
    """Whether it ever asked again on one of them."""
    is_away: bool = False
    """Whether it is taken to have left; it is known for as long as a silent one."""
    came_back: bool = False
    """Whether that was wrong before."""

    @property
    def place(self) -> tuple[str, Who]:
        return self.session.key, self.who

    def note_sent(self, size: int) -> None:
        self.viewer.bytes_sent += size

    def leave(self) -> None:
        """Take it to have left, unless it is being answered or came back before."""
        if not (self.answering or self.came_back or self.is_away):
            self.is_away = True
            self.session.leave(self.viewer)

    def come_back(self, viewer: Viewer) -> None:
        """Enter it again; raises what ``Session.enter`` raises."""
        self.session.enter(viewer)
        self.viewer, self.is_away, self.came_back = viewer, False, True


class Audience:
    """All HLS viewers of this proxy."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._hung_up: dict[tuple[str, Who], dict[str, Visit]] = {}
        """Those without a connection, of each key: the one that lost its last one first comes first."""
        self._on: dict[BaseTransport, dict[str, Visit]] = {}
        """Whose connections of theirs are."""
        self._connected: dict[BaseTransport, dict[tuple[str, Who], Visit]] = {}
        """Who asked last on a connection, of each key: behind a reverse proxy several viewers share one."""

    def find(self, token: str, key: str, who: Who, connection: BaseTransport | None) -> Visit | None:
        """Return the visit of a request, None when it is a new viewer's."""
        return self._visits.get(token) if token else self._guess(key, who, connection)

    def recognise(self, request: web.Request, session: Session, now: float) -> Visit:
        """Return the visit that this request belongs to, entering a new viewer when there is none.

        Raises RefusedError when the viewer has been sent away, and what ``Session.enter`` raises.
        """
        who = _who_asks(request)
        token = request.query.get(QUERY) or request.cookies.get(COOKIE) or ""
        visit = self.find(token, session.key, who, request.transport)
        if visit is not None and visit.session is session:
            if visit.viewer.over.is_set():
                raise RefusedError(410, "this viewer has been sent away")
            if visit.is_away:
                visit.come_back(new_viewer(request, Output.HLS))
        else:
            if visit is not None:
                self._forget(visit)
            visit = self._welcome(request, session, token if TOKEN.fullmatch(token) else "", who, now)
        self.note(visit, request.transport, now)
        return visit

    def note(self, visit: Visit, connection: BaseTransport | None, now: float) -> None:
        """The visit asks for something, on this connection."""
        visit.seen_at = now
        if connection is None or connection.is_closing():
            return
        if connection in visit.connections:
            visit.keeps_connections = True
        else:
            if len(visit.connections) == CONNECTIONS_MAX:
                self._disconnect(visit, visit.connections.popleft())
            visit.connections.append(connection)
            self._on.setdefault(connection, {})[visit.token] = visit
            _drop(self._hung_up, visit.place, visit.token)
        self._connected.setdefault(connection, {})[visit.place] = visit

    def hang_up(self, connection: BaseTransport) -> None:
        """The connection is lost."""
        for visit in tuple(self._on.get(connection, {}).values()):
            visit.connections.remove(connection)
            self._disconnect(visit, connection)
            if not visit.connections:
                self._hung_up.setdefault(visit.place, {})[visit.token] = visit

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
            self.answered(visit, transport)

    def answered(self, visit: Visit, transport: Transport) -> None:
        """Let go of a visit that was held for an answer on this connection."""
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
            elif visit.keeps_connections and not visit.connections and now - visit.seen_at > HUNG_UP_SECONDS:
                visit.leave()

    def _guess(self, key: str, who: Who, connection: BaseTransport | None) -> Visit | None:
        known = self._connected.get(connection, {}).get((key, who)) if connection is not None else None
        if known is not None:
            return known
        banned = None
        for visit in self._hung_up.get((key, who), {}).values():
            if visit.answering:
                continue
            if not visit.viewer.over.is_set():
                return visit
            banned = banned or visit
        return banned

    def _welcome(self, request: web.Request, session: Session, token: str, who: Who, now: float) -> Visit:
        on_connection = self._connected.get(request.transport, {}) if request.transport is not None else {}
        for (key, whose), other in on_connection.items():
            if key != session.key and whose == who:
                other.leave()
        viewer = new_viewer(request, Output.HLS)
        session.enter(viewer)
        visit = Visit(token or secrets.token_urlsafe(12), viewer, session, who, now)
        self._visits[visit.token] = visit
        self._hung_up.setdefault(visit.place, {})[visit.token] = visit
        return visit

    def _forget(self, visit: Visit) -> None:
        visit.session.leave(visit.viewer)
        self._visits.pop(visit.token, None)
        while visit.connections:
            self._disconnect(visit, visit.connections.pop())
        _drop(self._hung_up, visit.place, visit.token)

    def _disconnect(self, visit: Visit, connection: BaseTransport) -> None:
        _drop(self._on, connection, visit.token)
        if self._connected.get(connection, {}).get(visit.place) is visit:
            _drop(self._connected, connection, visit.place)


def _drop(index: dict[Outer, dict[Inner, Visit]], outer: Outer, inner: Inner) -> None:
    """Take one out of an index, and leave nothing empty behind."""
    members = index.get(outer, {})
    members.pop(inner, None)
    if not members:
        index.pop(outer, None)


def _who_asks(request: web.Request) -> Who:
    forwarded = request.headers.get("X-Forwarded-For", "")
    return request.remote or "", forwarded, request.headers.get("User-Agent", "")


def _silence_seconds(session: Session) -> float:
    cutter = session.feed.hls if session.feed is not None else None
    return TARGETS_SILENT * (cutter.target_seconds if cutter is not None else TARGET_SECONDS)
