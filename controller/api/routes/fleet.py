"""What the proxies were seen to run."""

from fastapi import APIRouter, Response

from controller.api import render, schemas
from controller.api.problems import documented
from controller.api.wire import LIMIT_DEFAULT, CursorHere, KeyHere, Limit, ServicesHere, ViewHere, answer, slice_page
from controller.domain.controls import Controls
from controller.store import controls, streams

router = APIRouter(tags=["proxies"], responses=documented(_400="the request cannot be understood"))


@router.get("/sessions", response_model=schemas.SessionList, summary="List what the proxies were seen to run")
async def list_sessions(
    services: ServicesHere,
    view: ViewHere,
    key: KeyHere = None,
    cursor: CursorHere = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    seen = [sighting for sighting in view.seen.sightings() if key is None or sighting.session.key == key]
    page, next_cursor = slice_page(seen, lambda sighting: sighting.name, cursor, limit)
    runs = await services.database.read(streams.load_runs, {sighting.session.stream_id for sighting in page})
    placed = {(p.proxy_id, p.stream_id, p.generation): p for run in runs.values() for p in run.placements}
    items = [
        render.seen_session(placed.get((one.view.proxy_id, one.session.stream_id, one.session.generation)), one)
        for one in page
    ]
    found: schemas.SessionList = {"items": items, "next_cursor": next_cursor}
    return answer(found)


@router.get("/proxies", response_model=schemas.ProxyList, summary="List the proxies, as they were seen last")
async def list_proxies(
    services: ServicesHere, view: ViewHere, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT
) -> Response:
    held = Controls(await services.database.read(controls.load_now))
    items, next_cursor = slice_page(view.seen.views.values(), lambda proxy: proxy.proxy_id, cursor, limit)
    found: schemas.ProxyList = {"items": [render.proxy(proxy, held) for proxy in items], "next_cursor": next_cursor}
    return answer(found)
