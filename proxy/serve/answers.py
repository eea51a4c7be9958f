"""What a viewer is told when it gets no media: problem documents (RFC 9457), and the headers all answers share."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Final

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from proxy.contract import FinishedReason, Output, Problem
from proxy.errors import SessionOverError, StartFailedError, ViewerError, ViewerLimitError
from proxy.registry import Registry
from proxy.session import Session

RETRY_SECONDS: Final = 2
CORS: Final = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT: Final = CORS | {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusedError(ViewerError):
    """A viewer is to be answered with this problem."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


class MovedError(ViewerError):
    """A viewer is to ask another proxy."""

    def __init__(self, url: str) -> None:
        super().__init__(f"moved to {url}")
        self.url = url


def redirect(moved: MovedError, request: web.Request) -> web.Response:
    """Send a viewer to the same path elsewhere: for now, since the stream may come back."""
    location = f"{moved.url}{request.rel_url}"
    return web.Response(status=307, headers={**CORS, "Cache-Control": "no-store", "Location": location})


@contextmanager
def following(registry: Registry, key: str) -> Iterator[None]:
    """Send a viewer on whose stream was moved away while it was being answered."""
    try:
        yield
    except ViewerError:
        moved_to = registry.moved_to(key) if registry.get(key) is None else ""
        if moved_to:
            raise MovedError(moved_to) from None
        raise


def problem(refusal: RefusedError) -> web.Response:
    title = HTTPStatus(refusal.status).phrase
    body = Problem(title=title, status=refusal.status, detail=refusal.detail).model_dump_json()
    headers = {**CORS, "Cache-Control": "no-store", **refusal.headers}
    return web.Response(status=refusal.status, text=body, content_type="application/problem+json", headers=headers)


def guarded(handler: Handler) -> Handler:
    """Answer what the handler raises about its viewer with a problem document."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except MovedError as moved:
            return redirect(moved, request)
        except RefusedError as refusal:
            return problem(refusal)
        except StartFailedError as failure:
            return problem(RefusedError(failure.status, failure.reason, _retry()))
        except ViewerLimitError as error:
            return problem(RefusedError(503, str(error), _retry()))
        except SessionOverError as error:
            return problem(RefusedError(410, str(error)))
        except ConnectionError:
            return web.Response()  # the viewer is gone: nobody will read it

    return guard


def plain_head(headers: Mapping[str, str]) -> bytes:
    """Return the head of an answer that is written past aiohttp."""
    lines = {**headers, "Date": _date(int(time())), "Server": SERVER_SOFTWARE}
    return ("HTTP/1.1 200 OK\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n").encode()


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


async def preflight(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers=PREFLIGHT)


def find(registry: Registry, key: str, output: Output) -> Session:
    """Return the running session of ``key``, or raise what to answer instead."""
    session = find_even_ended(registry, key, output)
    if session.over:
        raise finished(session)
    return session


def find_running(registry: Registry, key: str) -> Session:
    """As ``find``, whatever its outputs are."""
    session = registry.get(key)
    if session is None:
        raise _absent(registry, key)
    if session.over:
        raise finished(session)
    return session


def find_even_ended(registry: Registry, key: str, output: Output) -> Session:
    """As ``find``; a session whose upstream has ended is returned too, as long as it holds media."""
    session = registry.get(key)
    if session is None:
        raise _absent(registry, key)
    if session.over and (session.finished_reason is not FinishedReason.UPSTREAM_ENDED or session.feed is None):
        raise finished(session)
    if output not in session.spec.outputs:
        offered = ", ".join(session.spec.outputs)
        raise RefusedError(406, f"{key} is not served as {output}; it is served as {offered}")
    return session


def finished(session: Session) -> RefusedError:
    """Return what to answer about a session that is over but still here."""
    if session.finished_reason in (FinishedReason.START_FAILED, FinishedReason.FAILED):
        return RefusedError(502, session.view().detail)
    return RefusedError(410, f"{session.key} has ended")


def _absent(registry: Registry, key: str) -> RefusedError:
    if registry.tombstone(key) == "recent":
        return RefusedError(410, f"{key} has been stopped")
    if not registry.synced:
        return RefusedError(503, "this proxy does not know yet what it is to run", _retry())
    return RefusedError(404, f"nothing runs under {key}")


def not_yet(detail: str) -> RefusedError:
    return RefusedError(503, detail, _retry())


def _retry() -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)}
