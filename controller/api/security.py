"""Who may change something, how large a request may be, and the headers that every answer carries.

Plain ASGI, before any route: a request that is refused here has reached nothing. Reading is open; every method that
changes something needs ``Authorization: Bearer TOKEN`` when a token is set. Without a token (which the settings allow
on loopback only) the API still refuses what a web page of another site makes a browser send.
"""

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.api import problems

BODY_BYTES_MAX = 1024 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
UNLESS_SAID: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""The page says otherwise about itself."""


class Guard:
    """Lets a request pass, or answers it with a problem document; puts the headers on every answer."""

    def __init__(self, app: ASGIApp, api_token: str | None, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._token = api_token.encode() if api_token else None
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _put_headers(MutableHeaders(scope=message))
            await send(message)

        refusal = self._refuse(scope["method"], Headers(scope=scope))
        target = refusal if refusal is not None else self._app
        await target(scope, self._limited(receive), send_with_headers)

    def _limited(self, receive: Receive) -> Receive:
        """Count the body, for those who do not say how long it is."""
        taken = 0

        async def receive_limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._body_bytes_max:
                raise HTTPException(413, self._too_large)
            return message

        return receive_limited

    @property
    def _too_large(self) -> str:
        return f"a request may have {self._body_bytes_max} bytes at most"

    def _refuse(self, method: str, headers: Headers) -> Response | None:
        if method in SAFE_METHODS:
            return None
        refusal = self._check_token(headers) if self._token is not None else _check_origin(headers)
        if refusal is not None:
            return refusal
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self._body_bytes_max:
            return problems.response(413, self._too_large)
        return None

    def _check_token(self, headers: Headers) -> Response | None:
        assert self._token is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return None
        detail = "this token is not valid" if given else "this needs the header Authorization: Bearer TOKEN"
        challenge = 'Bearer realm="penstock"' + (', error="invalid_token"' if given else "")
        return problems.response(401, detail, name="unauthorized", headers={"WWW-Authenticate": challenge})


def _check_origin(headers: Headers) -> Response | None:
    """Without a token: refuse what another site's page, or a name that was pointed at this machine, would send."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    crosses_sites = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if crosses_sites or (origin is not None and origin.partition("://")[2] != host):
        return problems.response(403, "requests from pages of other sites are refused", name="cross_site")
    if not _is_loopback(_hostname(host)):
        detail = "without a token, changes are taken only at localhost; set PENSTOCK_API_TOKEN to use another name"
        return problems.response(403, detail, name="open_api")
    return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _put_headers(headers: MutableHeaders) -> None:
    for name, value in ALWAYS.items():
        headers[name] = value
    for name, value in UNLESS_SAID.items():
        headers.setdefault(name, value)
