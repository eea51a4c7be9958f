"""Builds the application: routes, guard, problems, and the OpenAPI document."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import BaseRoute
from typing_extensions import override

from controller.api import metrics, problems, security
from controller.api.routes import blocks, controls, events, fleet, process, reconcile, streams, viewers, watch
from controller.api.services import Services

DESCRIPTION = """\
Live streams: what should run, what runs, and why.

Reading is open. Every method that changes something needs `Authorization: Bearer TOKEN` when a token is set.
Lists are `{"items": [...], "next_cursor": ...}`; errors are problem documents (RFC 9457).
"""

TAGS = [
    {"name": "streams", "description": "What is meant to play, what plays for it, and why it is so."},
    {"name": "events", "description": "What happened, as pages or as it happens; announcements as over MQTT."},
    {"name": "blocks", "description": "Keys that may not start again for a while."},
    {"name": "viewers", "description": "Who watches."},
    {"name": "proxies", "description": "What the proxies were seen to run."},
    {"name": "reconcile", "description": "The control loop: what it found, did, and would do."},
    {"name": "watch", "description": "Where to watch."},
    {"name": "process", "description": "This process."},
]


ROOMS = (streams, events, blocks, viewers, fleet, reconcile, controls, watch, process)


class Application(FastAPI):
    """A FastAPI application whose OpenAPI document says what is really answered."""

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _correct(super().openapi())
        return self.openapi_schema


def build(services: Services, pages: Sequence[BaseRoute] = ()) -> FastAPI:
    """Build the application.

    Args:
        services: the rest of the process.
        pages: further routes, not part of the API: those of the web page.
    """
    app = Application(
        title="Penstock",
        version=services.version,
        summary="A live-stream gateway that cannot lose track of its streams",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    requests: Counter[tuple[str, str, int]] = Counter()
    app.state.services = services
    app.state.requests = requests
    app.state.sync_checks = process.SyncChecks(services)
    problems.install(app)
    app.state.routes = [route for room in ROOMS for route in room.router.routes] + list(pages)
    for room in ROOMS:
        app.include_router(room.router)
    app.router.routes.extend(pages)
    # The last one added stands first.
    app.add_middleware(security.Guard, api_token=services.api_token)
    app.add_middleware(metrics.Requests, counts=requests)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _correct(document: dict[str, Any]) -> dict[str, Any]:
    """Say what is true of every operation: no 422, problems as errors, and a token where something changes."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = TypeAdapter(problems.Problem).json_schema()
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for operations in document["paths"].values():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            if method.upper() not in security.SAFE_METHODS:
                operation["security"] = [{"token": []}, {}]
                operation["responses"] |= {str(code): text for code, text in _GUARDED.items()}
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return document


_GUARDED = problems.documented(
    _401="a token is set, and this is not it", _403="a page of another site sent this", _413="the body is too large"
)
