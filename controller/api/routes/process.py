"""This process: whether it lives, whether it can serve, its numbers, and whether the world is as it says."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from controller.api import metrics, schemas, sync_check
from controller.api.problems import documented
from controller.api.services import Services
from controller.api.sharing import Shared
from controller.api.sync_check import Graces, SyncCheck
from controller.api.wire import ServicesHere, answer
from controller.domain.model import StreamId
from controller.domain.observation import Observed
from controller.errors import DatabaseError
from controller.store import audit, history
from controller.store.audit import Reading

router = APIRouter(tags=["process"])

READY_SECONDS = 5.0
"""How long the database may take to answer a probe."""
RECORDING_SECONDS = 5.0
"""What sources say may wait for so long before a probe tells of it."""
OBSERVE_SECONDS = 15.0
"""How long the proxies together may take to be listed; each has its own, shorter time-out."""


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=schemas.AliveDocument, summary="Tell whether this process lives")
async def show_alive(services: ServicesHere) -> Response:
    found: schemas.AliveDocument = {"status": "ok", "version": services.version}
    return answer(found)


@router.get(
    "/readyz",
    response_model=schemas.ReadyDocument,
    summary="Tell whether this process can serve",
    responses={503: {"description": "It cannot, for the reason in the checks", "model": schemas.ReadyDocument}},
)
async def show_ready(services: ServicesHere) -> Response:
    health = services.health()
    database = await _check_database(services)
    if database["ok"] and health.database_detail:
        # It can be read and not written: a full disk.
        database = {"ok": False, "detail": health.database_detail}
    serves = database["ok"]
    if serves and health.recording_delayed_seconds >= RECORDING_SECONDS:
        # Some disks that are full let rows be changed and none be added. Reading goes on, and no other controller
        # could write more: this is told, and takes nobody out of service.
        since = services.clock() - timedelta(seconds=health.recording_delayed_seconds)
        detail = f"recording delayed since {since:%Y-%m-%d %H:%M:%S} UTC: {health.recording_trouble}"
        database = {"ok": False, "detail": detail}
    observation: schemas.CheckDocument = {
        "ok": health.has_observed,
        "detail": "" if health.has_observed else "the proxies were not listed since start",
    }
    found: schemas.ReadyDocument = {
        "ready": serves and health.has_observed and not services.stopping.is_set(),
        "is_leader": health.is_leader,
        "leader": health.leader,
        "database": database,
        "observation": observation,
        "broker": {
            "ok": health.broker in ("connected", "standby", "off"),
            "detail": f"{health.broker}: {health.broker_detail}" if health.broker_detail else health.broker,
        },
    }
    return answer(found, HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)


@router.get(
    "/metrics",
    response_class=Response,
    summary="Numbers, for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def show_metrics(services: ServicesHere, request: Request) -> Response:
    return Response(await metrics.render(services, request.app.state.requests), media_type=metrics.MEDIA_TYPE)


@router.get(
    "/debug/sync-check",
    response_model=sync_check.SyncCheck,
    summary="Compare what should run with what runs",
    responses=documented(_400="the request cannot be understood"),
)
async def check_sync(
    request: Request,
    live: Annotated[
        Literal["0", "1", "false", "true"], Query(description="`1`: ask the proxies now, not what was seen last.")
    ] = "0",
) -> Response:
    checks: SyncChecks = request.app.state.sync_checks
    return answer(await (checks.live if live in ("1", "true") else checks.latest).get())


class SyncChecks:
    """Both comparisons, each shared by all who ask for it at the same time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.latest = Shared(self._check_latest)
        self.live = Shared(self._check_live)

    async def _check_latest(self) -> SyncCheck:
        """Compare with the newest lists. Both readings would come after them, so that one is enough."""
        observed = self._services.observed()
        reading = await self._read(observed)
        return await self._compare(reading, observed, reading, is_live=False)

    async def _check_live(self) -> SyncCheck:
        before = await self._read(self._services.observed())
        async with asyncio.timeout(OBSERVE_SECONDS):
            observed = await self._services.observe_now()
        return await self._compare(before, observed, await self._read(observed), is_live=True)

    async def _read(self, observed: Observed) -> Reading:
        stream_ids = {StreamId(session.stream_id) for view in observed.proxies for session in view.sessions}
        return await self._services.database.read(audit.read, stream_ids)

    async def _compare(self, before: Reading, observed: Observed, after: Reading, *, is_live: bool) -> SyncCheck:
        """Compare on a thread: thousands of sessions would keep everybody else waiting."""
        graces = Graces(self._services.start_grace, self._services.stop_grace)
        now = self._services.clock()
        return await asyncio.to_thread(
            sync_check.compare, before, observed, after, graces=graces, now=now, is_live=is_live
        )


async def _check_database(services: Services) -> schemas.CheckDocument:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await services.database.read(history.last_id)
    except TimeoutError:
        return {"ok": False, "detail": f"no answer within {READY_SECONDS:.0f} s"}
    except DatabaseError as failed:
        return {"ok": False, "detail": failed.detail}
    return {"ok": True, "detail": ""}
