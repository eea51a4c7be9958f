"""The control loop: what it found, did, would do, and what could not be read."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from controller.api import render, schemas
from controller.api.problems import documented
from controller.api.wire import LIMIT_DEFAULT, CursorHere, Limit, ServicesHere, answer
from controller.store import drift, quarantine, runs

router = APIRouter(tags=["reconcile"], responses=documented(_400="the request cannot be understood"))

CYCLE_SECONDS = 30.0
"""How long a request waits for a plan, or for a cycle to end."""


@router.get("/drift", response_model=schemas.DriftList, summary="List drifts, newest first")
async def list_drift(
    services: ServicesHere,
    is_open: Annotated[
        bool, Query(alias="open", description="Only those that are not repaired; `false` lists all.")
    ] = True,
    cursor: CursorHere = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    page = await services.database.read(drift.page, open_only=is_open, cursor=cursor, limit=limit)
    found: schemas.DriftList = {
        "items": [render.drift(known) for known in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.get("/reconcile", response_model=schemas.CycleList, summary="List the cycles of the control loop, newest first")
async def list_cycles(services: ServicesHere, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT) -> Response:
    page = await services.database.read(runs.page, cursor=cursor, limit=limit)
    found: schemas.CycleList = {
        "items": [render.cycle(known) for known in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.get(
    "/reconcile/plan", response_model=schemas.PlanDocument, summary="Show what a cycle would do now, without doing it"
)
async def show_plan(services: ServicesHere) -> Response:
    async with asyncio.timeout(CYCLE_SECONDS):
        planned = await services.plan_now()
    found: schemas.PlanDocument = {
        "items": render.actions(planned.actions),
        "next_cursor": None,
        "is_empty": planned.is_empty,
    }
    return answer(found)


@router.post(
    "/reconcile/run",
    response_model=schemas.RunDocument,
    summary="Run a full cycle now",
    responses=documented(_409="another controller leads"),
)
async def run_cycle(services: ServicesHere) -> Response:
    async with asyncio.timeout(CYCLE_SECONDS):
        await services.run_now()
    page = await services.database.read(runs.page, limit=1)
    found: schemas.RunDocument = {"cycle": render.cycle(page.items[0]) if page.items else None}
    return answer(found)


@router.get(
    "/quarantine", response_model=schemas.RefusalList, summary="List messages that could not be read, newest first"
)
async def list_quarantine(services: ServicesHere, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT) -> Response:
    page = await services.database.read(quarantine.page, cursor=cursor, limit=limit)
    found: schemas.RefusalList = {
        "items": [render.refusal(kept) for kept in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)
