"""PUT and POST /publish/{key}: MPEG-TS is pushed to a session whose upstream is ``publish:``. The doorway for encoders.

A publisher shows the publish token as a bearer, as the password of basic authentication, or as ``?token=``. Without a
token only programs of this machine may publish, and no web page of another site through a browser.
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from proxy.contract import Problem
from proxy.errors import NotPublishedError, PublisherPresentError, SessionOverError
from proxy.registry import Registry
from proxy.session import Session
from proxy.upstream.publish import Publisher, rank

PATH: Final = "/publish/{key}"
RETRY: Final = {"Retry-After": "2"}
LINGER_SECONDS: Final = 1.0
"""So long what a refused publisher goes on sending is read and thrown away, so that it can hear why."""
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SETTLE_SECONDS: Final = 0.1
"""The pull acts on the end of a publisher, and says why it was sent away, before the seat is free."""
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="publish", charset="UTF-8"'}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    token: str | None = None
    is_loopback: bool = True
    """Whether the proxy listens on loopback alone."""


class RefusedError(Exception):
    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def routes(registry: Registry, policy: PublishPolicy) -> list[web.AbstractRouteDef]:
    """Return the routes to be mounted at the top."""
    door = PublishDoor(registry, policy)
    return [
        web.put(PATH, door.handle, expect_handler=door.expect),
        web.post(PATH, door.handle, expect_handler=door.expect),
    ]


class PublishDoor:
    """The handlers of one application."""

    def __init__(self, registry: Registry, policy: PublishPolicy) -> None:
        self._registry = registry
        self._policy = policy

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer ``Expect: 100-continue``: whoever is refused need not begin to send."""
        try:
            self._admit(request)
        except RefusedError as refusal:
            return _problem(refusal)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer, which has not begun
        return None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            session = self._admit(request)
            await self._take(request, session)
        except RefusedError as refusal:
            return await _refuse(request, refusal)
        return web.Response(status=204)

    def _admit(self, request: web.Request) -> Session:
        """Return the session that may be published to; raise RefusedError."""
        self._authenticate(request)
        session = self._find(request.match_info["key"])
        if rank(session.spec) is None:
            raise RefusedError(409, str(NotPublishedError(session.key)))
        return session

    def _authenticate(self, request: web.Request) -> None:
        policy = self._policy
        if policy.token is not None:
            if not any(hmac.compare_digest(shown, policy.token.encode()) for shown in _shown(request)):
                raise RefusedError(401, "publishing needs the publish token", CHALLENGE)
        elif not policy.is_loopback:
            raise RefusedError(403, "nobody may publish here: PENSTOCK_PROXY_PUBLISH_TOKEN is not set")
        elif request.url.host not in LOOPBACK_NAMES or "Origin" in request.headers:
            raise RefusedError(403, "without a publish token only programs of this machine may publish")

    def _find(self, key: str) -> Session:
        session = self._registry.get(key)
        if session is not None and not session.over:
            return session
        if session is not None or self._registry.tombstone(key) == "recent":
            raise RefusedError(410, f"{key} has ended")
        if not self._registry.synced:
            raise RefusedError(503, "this proxy does not know yet what it is to run", RETRY)
        raise RefusedError(404, f"nothing runs under {key}")

    async def _take(self, request: web.Request, session: Session) -> None:
        publisher = Publisher(is_file=request.content_length is not None)
        try:
            session.attend(publisher)
        except (PublisherPresentError, NotPublishedError) as error:
            raise RefusedError(409, str(error)) from None
        except SessionOverError:
            raise RefusedError(410, f"{session.key} has ended") from None
        log.info("publisher.arrived", key=session.key, address=request.remote)
        is_taken = False
        try:
            is_taken = await publisher.push(request.content.iter_any())
            await asyncio.sleep(SETTLE_SECONDS)
        finally:
            session.depart(publisher)
            log.info("publisher.left", key=session.key, bytes_taken=publisher.bytes_taken, complete=is_taken)
        if not is_taken and session.over:
            raise RefusedError(410, f"{session.key} has ended")
        if not is_taken:
            raise RefusedError(400, session.vitals.detail or "the proxy has stopped to read this")


def _shown(request: web.Request) -> list[bytes]:
    """Return what the request shows as a token."""
    shown = [request.query.get("token", "")]
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        shown.append(value.strip())
    elif kind.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            shown.append(base64.b64decode(value.strip(), validate=True).decode().partition(":")[2])
    return [text.encode() for text in shown]


async def _refuse(request: web.Request, refusal: RefusedError) -> web.StreamResponse:
    """Answer although the request has not been read to its end, and end the connection."""
    response = _problem(refusal)
    await response.prepare(request)
    await response.write_eof()
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while await request.content.readany():
                pass
    except TimeoutError:
        if request.transport is not None:
            request.transport.close()
    return response


def _problem(refusal: RefusedError) -> web.Response:
    body = Problem(title=HTTPStatus(refusal.status).phrase, status=refusal.status, detail=refusal.detail)
    response = web.Response(
        text=body.model_dump_json(),
        status=refusal.status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **refusal.headers},
    )
    response.force_close()
    return response
