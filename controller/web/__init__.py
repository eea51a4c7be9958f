"""The page: its built files, served beside the API, which it speaks to like everybody else. It knows no other room.

Files below ``assets/`` carry a hash of their content in their names and may be kept for ever; the rest is asked about
each time, by its ETag. The content security policy allows no inline script and no script of another site; media come
from the proxies, which have other addresses, so that connections to any HTTP address are allowed.
"""

import hashlib
import mimetypes
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
ASSETS = "assets/"

POLICY: Mapping[str, str] = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "font-src": "'self'",
    "connect-src": "'self' http: https:",
    "media-src": "'self' blob: http: https:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
CONTENT_SECURITY_POLICY = "; ".join(f"{what} {where}" for what, where in POLICY.items())

FOR_EVER = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"

# Not left to the tables of the machine it runs on.
TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: Mapping[str, str]


def routes(static: Path = STATIC) -> list[BaseRoute]:
    """Return one route for every file of the built page, read once, and ``/`` for its index.

    Exact routes and no catch-all: what is not a file stays the API's to answer. Without a built page ``/`` says so.
    """
    files = {path.relative_to(static).as_posix(): path for path in sorted(static.rglob("*")) if path.is_file()}
    found: list[BaseRoute] = [Route(f"/{name}", _serve(_read(path, name))) for name, path in files.items()]
    index = _serve(_read(files[INDEX], INDEX)) if INDEX in files else _say_not_built
    return [Route("/", index), *found]


def _read(path: Path, name: str) -> _File:
    content = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(
        content,
        {
            "Content-Type": kind,
            "Cache-Control": FOR_EVER if name.startswith(ASSETS) else ASK_EACH_TIME,
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        },
    )


def _serve(file: _File) -> Endpoint:
    async def serve(request: Request) -> Response:
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if file.headers["ETag"] in known or "*" in known:
            unchanged = {name: value for name, value in file.headers.items() if name != "Content-Type"}
            return Response(status_code=304, headers=unchanged)
        return Response(file.content, headers=dict(file.headers))

    return serve


async def _say_not_built(_request: Request) -> Response:
    return PlainTextResponse("The page is not part of this build. The API is described at /openapi.json.\n")
