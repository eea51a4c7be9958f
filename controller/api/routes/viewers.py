"""Viewers: who watches, asked of the proxies at that moment."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from controller.announcements import NAME_PATTERN, NO_CONTROLS
from controller.api import render, schemas
from controller.api.problems import documented
from controller.api.services import Services
from controller.api.wire import LIMIT_DEFAULT, CursorHere, KeyHere, Limit, ServicesHere, ViewHere, answer, slice_page
from controller.domain.model import ProxyId
from controller.domain.observation import Viewer
from controller.errors import NotFoundError, ProxyUnreachableError

router = APIRouter(tags=["viewers"], responses=documented(_400="the request cannot be understood"))

ASK_SECONDS = 10.0
"""How long a proxy may take, whatever the time-out of its client is."""


@dataclass(frozen=True, slots=True)
class Gathered:
    viewers: tuple[Viewer, ...]
    unreachable: tuple[ProxyId, ...]


@router.get("/viewers", response_model=schemas.ViewerList, summary="List who watches")
async def list_viewers(
    services: ServicesHere,
    view: ViewHere,
    key: KeyHere = None,
    cursor: CursorHere = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    gathered = await gather(services, view.seen.views)
    watching = [viewer for viewer in gathered.viewers if key is None or viewer.key == key]
    return answer(document(watching, gathered.unreachable, cursor, limit))


@router.delete(
    "/viewers/{viewer_id}",
    status_code=204,
    summary="End a viewer",
    responses=documented(_404="there is no such viewer", _502="its proxy cannot be reached"),
)
async def kick_viewer(
    services: ServicesHere,
    view: ViewHere,
    viewer_id: Annotated[str, Path(min_length=1, max_length=128, pattern=NO_CONTROLS)],
    proxy_id: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="The proxy it is at. By default all are asked.")
    ] = None,
) -> Response:
    gathered = await gather(services, [known for known in view.seen.views if proxy_id in (None, known)])
    holder = next((v.proxy_id for v in gathered.viewers if v.viewer_id == viewer_id), None)
    if holder is not None and await services.kick_viewer(holder, viewer_id):
        return Response(status_code=204)
    if holder is None and gathered.unreachable:
        raise ProxyUnreachableError(gathered.unreachable[0], "the viewer may be there")
    raise NotFoundError("viewer", viewer_id)


async def gather(services: Services, proxy_ids: Iterable[ProxyId]) -> Gathered:
    """Ask proxies for their viewers, all at once."""
    async with asyncio.TaskGroup() as group:
        asked = {
            proxy_id: group.create_task(_ask(services, proxy_id), name=f"viewers of {proxy_id}")
            for proxy_id in proxy_ids
        }
    answers = {proxy_id: task.result() for proxy_id, task in asked.items()}
    return Gathered(
        tuple(viewer for found in answers.values() if found is not None for viewer in found),
        tuple(proxy_id for proxy_id, found in answers.items() if found is None),
    )


async def _ask(services: Services, proxy_id: ProxyId) -> tuple[Viewer, ...] | None:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return tuple(await services.list_viewers(proxy_id))
    except (ProxyUnreachableError, NotFoundError, TimeoutError):
        return None


def document(
    watching: Iterable[Viewer], unreachable: Iterable[ProxyId], cursor: str | None, limit: int
) -> schemas.ViewerList:
    items, next_cursor = slice_page(watching, lambda viewer: f"{viewer.proxy_id}/{viewer.viewer_id}", cursor, limit)
    return {
        "items": [render.viewer(viewer) for viewer in items],
        "next_cursor": next_cursor,
        "unreachable": sorted(unreachable),
    }
