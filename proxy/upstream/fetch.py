"""The one HTTP client for upstreams: guarded addresses, checked redirects, bounded waits, translated errors.

One ``Client`` serves one reader: its cookies and connections are its own and are gone when it closes. Redirects are
followed here, one at a time, so that every hop is checked and the former connection is closed before the next is
opened. Credentials go only to the origin they were given for. No text made here quotes a URL.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, CookieJar, TCPConnector
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.contract import Upstream
from proxy.errors import (
    UpstreamAnswerError,
    UpstreamContentError,
    UpstreamForbiddenError,
    UpstreamLostError,
    UpstreamSilentError,
    UpstreamUnreachableError,
)
from proxy.upstream import address
from proxy.upstream.items import printable

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
CLOSE_SECONDS: Final = 1.0
"""For the kernel, and TLS, to close a connection."""
SECRET_WORDS: Final = ("auth", "cookie", "token", "key", "secret", "session")
"""Headers whose names hold one of these are credentials, and are not sent to another origin."""


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    """Between two reads; the last resort below the pull's own limits."""
    redirects_max: int = 5
    user_agent: str = "Penstock/0.1"
    guarded: bool = True
    """Whether link-local and metadata addresses are refused."""


def parse_url(text: str) -> URL:
    """Return the URL as it was announced, byte for byte where it is plain ASCII; raise UpstreamForbiddenError."""
    try:
        url = URL(text, encoded=text.isascii() and " " not in text)
    except ValueError:
        raise UpstreamForbiddenError("the upstream's URL cannot be read") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise UpstreamForbiddenError(f"upstreams of kind {url.scheme or 'without scheme'!r} are not supported here")
    return url


class Client:
    """GETs below one upstream; to be closed by ``async with``."""

    def __init__(
        self, upstream: Upstream, policy: HttpPolicy, resolver: AbstractResolver, *, keep_connections: bool
    ) -> None:
        self.url, credentials = _apart(parse_url(upstream.url))
        own = {name.lower() for name in upstream.headers}
        credentials = {name: value for name, value in credentials.items() if name.lower() not in own}
        self._headers = {"User-Agent": policy.user_agent, **credentials, **upstream.headers}
        self._policy = policy
        self._closing: set[asyncio.Future[None]] = set()
        """Of the connections that are being closed."""
        self._session = ClientSession(
            connector=TCPConnector(resolver=resolver, force_close=not keep_connections, limit=1, ttl_dns_cache=30),
            cookie_jar=CookieJar(unsafe=True),
            auto_decompress=True,
            timeout=ClientTimeout(
                total=None,
                connect=policy.connect_timeout_seconds * 2,
                sock_connect=policy.connect_timeout_seconds,
                sock_read=policy.read_timeout_seconds,
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Return when the connections are closed: whoever opens the next one must not be one too many."""
        await self._session.close()
        await self._wait_closed()

    @asynccontextmanager
    async def get(self, url: URL, extra_headers: Mapping[str, str] | None = None) -> AsyncIterator[ClientResponse]:
        """Yield the answer with status 200 or 206, after redirects; every other end is an UpstreamError."""
        response = await self._follow(url, extra_headers or {})
        try:
            if response.status not in {200, 206}:
                raise UpstreamAnswerError(response.status, printable(response.reason or ""))
            yield response
        finally:
            if response.content.is_eof():
                response.release()  # read to its end: the connection may serve the next request
            else:
                self._close(response)

    async def _follow(self, url: URL, extra_headers: Mapping[str, str]) -> ClientResponse:
        for _ in range(self._policy.redirects_max + 1):
            self._check(url)
            with translated(url, self._policy):
                response = await self._session.get(
                    url, headers={**self._headers_for(url), **extra_headers}, allow_redirects=False
                )
            if response.status not in REDIRECT_STATUSES:
                return response
            location = response.headers.get("Location", "")
            self._close(response)
            await self._wait_closed()
            url = self._next(url, location)
        raise UpstreamForbiddenError(f"more than {self._policy.redirects_max} redirects")

    def _close(self, response: ClientResponse) -> None:
        connection = response.connection
        closed = connection.protocol.closed if connection is not None and connection.protocol is not None else None
        if closed is not None:
            self._closing.add(closed)
            closed.add_done_callback(self._closing.discard)
        response.close()

    async def _wait_closed(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)

    @staticmethod
    def _next(url: URL, location: str) -> URL:
        if not location:
            raise UpstreamContentError("upstream redirects to nowhere")
        try:
            target = url.join(URL(location, encoded=location.isascii() and " " not in location))
        except ValueError:
            raise UpstreamForbiddenError("upstream redirects to something that is no URL") from None
        return parse_url(str(target))

    def _check(self, url: URL) -> None:
        if self._policy.guarded and url.host:
            address.check_literal(url.host)

    def _headers_for(self, url: URL) -> dict[str, str]:
        if url.origin() == self.url.origin():
            return self._headers
        return {name: value for name, value in self._headers.items() if not _is_secret(name)}


def _apart(url: URL) -> tuple[URL, dict[str, str]]:
    """Take the credentials out of a URL, so that they are sent to all of its origin and not to what it redirects to."""
    if url.user is None:
        return url, {}
    secret = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return url.with_user(None), {"Authorization": f"Basic {secret}"}


def _is_secret(header: str) -> bool:
    return any(word in header.lower() for word in SECRET_WORDS)


@contextmanager
def translated(url: URL, policy: HttpPolicy) -> Iterator[None]:
    """Turn what aiohttp raises into UpstreamErrors; only the host of ``url`` is ever named."""
    where = f"{url.host}:{url.port}"
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ssl.SSLError) as error:
        raise UpstreamUnreachableError(where, _why_unreachable(error, policy)) from None
    except aiohttp.ServerTimeoutError:
        raise UpstreamSilentError(policy.read_timeout_seconds) from None
    except aiohttp.ClientPayloadError:
        raise UpstreamLostError("ended in the middle of the body") from None
    except aiohttp.ClientResponseError:
        raise UpstreamContentError("upstream answers something that is not HTTP") from None
    except aiohttp.ServerDisconnectedError:
        raise UpstreamLostError("closed before an answer") from None
    except (aiohttp.ClientConnectionError, ConnectionError):
        raise UpstreamLostError("reset") from None
    except (aiohttp.ClientError, ValueError):
        raise UpstreamForbiddenError("the request for this upstream cannot be made") from None


def _why_unreachable(error: Exception, policy: HttpPolicy) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {policy.connect_timeout_seconds:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "name not found"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "TLS failed"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or "connection failed"
        case _:
            return "connection failed"
