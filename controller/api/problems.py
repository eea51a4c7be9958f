"""The one place where errors become HTTP answers: problem documents (RFC 9457), and nothing else.

A problem's ``type`` is ``urn:penstock:problem:NAME``, or ``about:blank`` where the status says it all. Texts are for
people; programs look at ``status`` and ``type``.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NotRequired

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match
from typing_extensions import TypedDict

from controller.api.pulse import TooManyFollowersError
from controller.errors import (
    ConflictError,
    ControllerError,
    DatabaseUnavailableError,
    EventRefusedError,
    InvalidError,
    NotFoundError,
    ProxyUnreachableError,
    StaleWriteError,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
"""Advised to who meets a passing trouble."""
FAULTS_MAX = 20


class Problem(TypedDict):
    """What went wrong with a request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    verdict: NotRequired[str]


class RefusedError(Exception):
    """A request that was understood and cannot be granted; raised by routes, answered here."""

    def __init__(
        self,
        status: HTTPStatus,
        name: str,
        detail: str,
        *,
        retry_seconds: int | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = {} if retry_seconds is None else {"Retry-After": str(retry_seconds)}
        self.extra = dict(extra or {})


def response(
    status: int,
    detail: str = "",
    *,
    name: str = "",
    headers: Mapping[str, str] | None = None,
    instance: str = "",
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document as an HTTP response."""
    document: dict[str, Any] = {
        "type": f"urn:penstock:problem:{name}" if name else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if instance:
        document["instance"] = instance
    return Response(
        to_json(document | dict(extra or {})), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def install(app: FastAPI) -> None:
    """Let every error of this application end in a problem document."""
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(RefusedError, _answer_refused)
    app.add_exception_handler(TooManyFollowersError, _answer_crowded)
    app.add_exception_handler(ControllerError, _answer_ours)
    app.add_exception_handler(Exception, _answer_fault)


async def _answer_http(request: Request, error: Exception) -> Response:
    """Status errors of the framework, with their headers."""
    assert isinstance(error, HTTPException)
    detail = {
        404: f"nothing is at {request.url.path}",
        405: f"{request.method} is not possible at {request.url.path}",
    }.get(error.status_code, str(error.detail))
    headers = {**(error.headers or {}), **({"Allow": _allowed(request)} if error.status_code == 405 else {})}
    return response(error.status_code, detail, headers=headers, instance=request.url.path)


def _allowed(request: Request) -> str:
    """Name the methods of every route at this path: the framework names only those of the first."""
    found = {
        method
        for route in request.app.state.routes
        if route.matches(request.scope)[0] is Match.PARTIAL
        for method in getattr(route, "methods", None) or ()
    }
    return ", ".join(sorted(found))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [_explain(fault) for fault in error.errors()[:FAULTS_MAX]]
    return response(400, "; ".join(faults), name="invalid", instance=request.url.path)


async def _answer_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return response(
        error.status,
        error.detail,
        name=error.name,
        headers=error.headers,
        instance=request.url.path,
        extra=error.extra,
    )


async def _answer_crowded(request: Request, _error: Exception) -> Response:
    return response(
        503,
        "too many clients follow the events already",
        name="too_many_followers",
        headers={"Retry-After": str(RETRY_SECONDS)},
        instance=request.url.path,
    )


async def _answer_ours(request: Request, error: Exception) -> Response:
    status, name = next((answer for kind, answer in _ANSWERS.items() if isinstance(error, kind)), (500, "fault"))
    if status == 500:
        log.error("api.request_failed", path=request.url.path, error=str(error))
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
    # What the database says about a fault of ours is for the log, not for the caller.
    detail = str(error) if status != 500 else "the request failed; the controller's log says why"
    return response(status, detail, name=name, headers=headers, instance=request.url.path)


async def _answer_fault(request: Request, _error: Exception) -> Response:
    """A fault of ours. The server logs it with its traceback: the framework raises it again after this answer."""
    detail = "the request failed; the controller's log says why"
    return response(500, detail, name="fault", instance=request.url.path)


_ANSWERS: dict[type[ControllerError], tuple[int, str]] = {
    NotFoundError: (404, "not_found"),
    InvalidError: (400, "invalid"),
    ConflictError: (409, "conflict"),
    EventRefusedError: (409, "refused"),
    StaleWriteError: (409, "changed_meanwhile"),
    DatabaseUnavailableError: (503, "database_unavailable"),
    ProxyUnreachableError: (502, "proxy_unreachable"),
}


def _explain(fault: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def _documented(status: int, text: str) -> dict[str, Any]:
    return {
        "description": f"{HTTPStatus(status).phrase}: {text}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def documented(**texts: str) -> dict[int | str, dict[str, Any]]:
    """Describe problems for OpenAPI: ``documented(_404="no such stream")``."""
    return {int(name.removeprefix("_")): _documented(int(name.removeprefix("_")), text) for name, text in texts.items()}
