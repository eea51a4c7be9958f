"""The control loop: what it found, did, would do, and what could not be read."""

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from controller.api import operator_schemas, render, schemas
from controller.api.problems import documented
from controller.api.wire import LIMIT_DEFAULT, CursorHere, Digest, Limit, Owner, Remark, ServicesHere, answer
from controller.errors import ConflictError
from controller.store import approvals, breaker, drift, quarantine, runs

log = structlog.get_logger(__name__)

router = APIRouter(tags=["reconcile"], responses=documented(_400="the request cannot be understood"))

CYCLE_SECONDS = 30.0
"""How long a request waits for a plan, or for a cycle to end."""


class ApprovalRequest(BaseModel):
    """What is approved, as the plan named it, who approves it, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    owner: Owner
    why: Remark = ""


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
        "digest": planned.digest,
        "breaker": render.breaker(planned.breaker),
    }
    return answer(found)


@router.get(
    "/reconcile/breaker",
    response_model=operator_schemas.BreakerDocument,
    summary="Tell whether stops without evidence are held back altogether",
)
async def show_breaker(services: ServicesHere) -> Response:
    return answer(render.breaker(await services.database.read(breaker.load)))


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
    "/reconcile/approvals", response_model=operator_schemas.ApprovalList, summary="List approvals, newest first"
)
async def list_approvals(services: ServicesHere, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT) -> Response:
    page = await services.database.read(approvals.page, cursor=cursor, limit=limit)
    found: operator_schemas.ApprovalList = {
        "items": [render.approval(given) for given in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.post(
    "/reconcile/approvals",
    response_model=operator_schemas.ApprovalDocument,
    status_code=201,
    summary="Approve what the plan of this digest holds; once",
    responses=documented(_409="the plan is another one now"),
)
async def approve(services: ServicesHere, wish: ApprovalRequest) -> Response:
    async with asyncio.timeout(CYCLE_SECONDS):
        planned = await services.plan_now()
    if wish.digest != planned.digest:
        now = f"its digest is {planned.digest}" if planned.digest else "it holds nothing that can be approved"
        raise ConflictError(f"the plan is another one now: {now}")
    given = await services.database.write(approvals.give, wish.digest, owner=wish.owner, why=wish.why)
    log.warning("approval.given", digest=given.digest, owner=given.owner, why=given.why)
    services.wake_all()
    return answer(render.approval(given), 201)


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
