"""What operators allow the control loop to do: modes and pauses, of everything, of a proxy, of a key; and drains.

They limit what the loop decides by itself. What a source or an operator ends, ends all the same.
"""

from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.announcements import NO_CONTROLS
from controller.api import operator_schemas, render
from controller.api.problems import documented
from controller.api.services import Services
from controller.api.wire import KeyInPath, Owner, Remark, ServicesHere, answer
from controller.domain.controls import DECOMMISSION, DRAIN, MODE, PAUSE, Mode, Scope
from controller.errors import NotFoundError
from controller.store import controls

log = structlog.get_logger(__name__)

router = APIRouter(tags=["reconcile"], responses=documented(_400="the request cannot be understood"))

NOTHING_SET = documented(_404="nothing is set there")
SECONDS_MAX = 366 * 86400.0
ProxyInPath = Annotated[
    str, Path(min_length=1, max_length=256, pattern=NO_CONTROLS, description="The id of a proxy; it need not run.")
]
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]


class PauseRequest(BaseModel):
    """For how long nothing is done, who wants it so, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    for_seconds: Seconds
    owner: Owner
    why: Remark = ""


class ModeRequest(BaseModel):
    """How much may be done, who wants it so, why, and perhaps for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    owner: Owner
    why: Remark = ""
    for_seconds: Seconds | None = None


class ProxyRequest(BaseModel):
    """Who wants a proxy to be left, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: Owner
    why: Remark = ""


@router.get(
    "/reconcile/controls", response_model=operator_schemas.ControlList, summary="List the modes and pauses that hold"
)
async def list_controls(services: ServicesHere) -> Response:
    held = await services.database.read(controls.load_now)
    found: operator_schemas.ControlList = {"items": [render.control(control) for control in held], "next_cursor": None}
    return answer(found)


@router.put(
    "/reconcile/pause", response_model=operator_schemas.ControlDocument, summary="Let the control loop do nothing"
)
async def pause(services: ServicesHere, wish: PauseRequest) -> Response:
    return await _put(services, Scope.GLOBAL, "", wish)


@router.delete("/reconcile/pause", status_code=204, responses=NOTHING_SET, summary="End the pause of everything")
async def resume(services: ServicesHere) -> Response:
    return await _remove(services, Scope.GLOBAL, "", PAUSE)


@router.put(
    "/reconcile/mode", response_model=operator_schemas.ControlDocument, summary="Set how much the control loop may do"
)
async def set_mode(services: ServicesHere, wish: ModeRequest) -> Response:
    return await _put(services, Scope.GLOBAL, "", wish)


@router.delete("/reconcile/mode", status_code=204, responses=NOTHING_SET, summary="Remove the mode of everything")
async def clear_mode(services: ServicesHere) -> Response:
    return await _remove(services, Scope.GLOBAL, "", MODE)


@router.put(
    "/proxies/{proxy_id}/pause", response_model=operator_schemas.ControlDocument, summary="Do nothing to a proxy"
)
async def pause_proxy(services: ServicesHere, proxy_id: ProxyInPath, wish: PauseRequest) -> Response:
    return await _put(services, Scope.PROXY, proxy_id, wish)


@router.delete("/proxies/{proxy_id}/pause", status_code=204, responses=NOTHING_SET, summary="End the pause of a proxy")
async def resume_proxy(services: ServicesHere, proxy_id: ProxyInPath) -> Response:
    return await _remove(services, Scope.PROXY, proxy_id, PAUSE)


@router.put(
    "/proxies/{proxy_id}/mode", response_model=operator_schemas.ControlDocument, summary="Set the mode of a proxy"
)
async def set_proxy_mode(services: ServicesHere, proxy_id: ProxyInPath, wish: ModeRequest) -> Response:
    return await _put(services, Scope.PROXY, proxy_id, wish)


@router.delete("/proxies/{proxy_id}/mode", status_code=204, responses=NOTHING_SET, summary="Remove the mode of a proxy")
async def clear_proxy_mode(services: ServicesHere, proxy_id: ProxyInPath) -> Response:
    return await _remove(services, Scope.PROXY, proxy_id, MODE)


@router.post(
    "/proxies/{proxy_id}/drain",
    response_model=operator_schemas.ControlDocument,
    summary="Place nothing more on a proxy, and move away what it runs",
)
async def drain(services: ServicesHere, proxy_id: ProxyInPath, wish: ProxyRequest) -> Response:
    return await _leave(services, proxy_id, DRAIN, wish)


@router.delete("/proxies/{proxy_id}/drain", status_code=204, responses=NOTHING_SET, summary="End the drain of a proxy")
async def end_drain(services: ServicesHere, proxy_id: ProxyInPath) -> Response:
    return await _remove(services, Scope.PROXY, proxy_id, DRAIN)


@router.post(
    "/proxies/{proxy_id}/decommission",
    response_model=operator_schemas.ControlDocument,
    summary="Say that a proxy is gone for good: what it ran counts as gone while it does not answer",
)
async def decommission(services: ServicesHere, proxy_id: ProxyInPath, wish: ProxyRequest) -> Response:
    return await _leave(services, proxy_id, DECOMMISSION, wish)


@router.delete("/proxies/{proxy_id}/decommission", status_code=204, responses=NOTHING_SET, summary="Take a proxy back")
async def recommission(services: ServicesHere, proxy_id: ProxyInPath) -> Response:
    return await _remove(services, Scope.PROXY, proxy_id, DECOMMISSION)


@router.put("/streams/{name}/pause", response_model=operator_schemas.ControlDocument, summary="Do nothing about a key")
async def pause_stream(services: ServicesHere, name: KeyInPath, wish: PauseRequest) -> Response:
    return await _put(services, Scope.STREAM, name, wish)


@router.delete("/streams/{name}/pause", status_code=204, responses=NOTHING_SET, summary="End the pause of a key")
async def resume_stream(services: ServicesHere, name: KeyInPath) -> Response:
    return await _remove(services, Scope.STREAM, name, PAUSE)


@router.put("/streams/{name}/mode", response_model=operator_schemas.ControlDocument, summary="Set the mode of a key")
async def set_stream_mode(services: ServicesHere, name: KeyInPath, wish: ModeRequest) -> Response:
    return await _put(services, Scope.STREAM, name, wish)


@router.delete("/streams/{name}/mode", status_code=204, responses=NOTHING_SET, summary="Remove the mode of a key")
async def clear_stream_mode(services: ServicesHere, name: KeyInPath) -> Response:
    return await _remove(services, Scope.STREAM, name, MODE)


async def _put(services: Services, scope: Scope, subject: str, wish: PauseRequest | ModeRequest) -> Response:
    control = await services.database.write(
        controls.put_now,
        scope,
        subject,
        PAUSE if isinstance(wish, PauseRequest) else MODE,
        value="" if isinstance(wish, PauseRequest) else wish.mode.value,
        owner=wish.owner,
        why=wish.why,
        for_seconds=wish.for_seconds,
    )
    log.info("control.set", scope=scope.value, subject=subject, control=str(control), owner=wish.owner)
    services.wake_all()
    return answer(render.control(control))


async def _leave(services: Services, proxy_id: str, name: str, wish: ProxyRequest) -> Response:
    control = await services.database.write(
        controls.put_now, Scope.PROXY, proxy_id, name, value="", owner=wish.owner, why=wish.why, for_seconds=None
    )
    log.info("control.set", scope=Scope.PROXY.value, subject=proxy_id, control=str(control), owner=wish.owner)
    services.wake_all()
    return answer(render.control(control))


async def _remove(services: Services, scope: Scope, subject: str, name: str) -> Response:
    if not await services.database.write(controls.remove, scope, subject, name):
        raise NotFoundError(name, subject or "everything")
    log.info("control.removed", scope=scope.value, subject=subject, control=name)
    services.wake_all()
    return Response(status_code=204)
