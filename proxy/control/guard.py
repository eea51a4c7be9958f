"""Who may use the control API, and what it answers when something is wrong (RFC 9457)."""

import hmac
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from proxy.contract import Problem

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
FAULTS_SHOWN_MAX: Final = 5

log = structlog.get_logger(__name__)


def problem(status: int, detail: str = "") -> web.Response:
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return web.Response(
        text=body.model_dump_json(), status=status, content_type="application/problem+json", headers=headers
    )


def authentication(token: str | None) -> Middleware:
    """Without a token (loopback alone) only requests to a loopback name pass, so that no web page gets in by DNS."""
    expected = None if token is None else f"Bearer {token}".encode()

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if expected is None:
            if request.url.host not in LOOPBACK_NAMES:
                return problem(403, "without a control token this API answers on loopback names only")
        elif not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return problem(401, "a bearer token is needed")
        return await handler(request)

    return authenticate


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into problem documents; nothing of a request's content is repeated in them."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return problem(error.status, error.reason)
    except ValidationError as error:
        return problem(400, describe(error))
    except Exception:
        log.exception("control.request_failed", path=request.path)
        return problem(500, "the proxy failed; its log has the reason")


def describe(error: ValidationError) -> str:
    """Name the fields and what is wrong with them, but not their values: they may be credentials."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    texts = [f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in faults]
    more = len(texts) - FAULTS_SHOWN_MAX
    return "; ".join(texts[:FAULTS_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
