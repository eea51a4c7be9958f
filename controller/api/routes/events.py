"""Events: what happened, as pages or as it happens; and announcements by those who cannot speak MQTT."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from controller import announcements
from controller.announcements import Ending, Name
from controller.api import render, schemas, sse
from controller.api.problems import documented
from controller.api.render import View
from controller.api.routes.streams import AnnouncementRequest, admit, to_event
from controller.api.services import Services
from controller.api.wire import LIMIT_DEFAULT, CursorHere, Limit, ServicesHere, ViewHere, answer
from controller.domain.model import ANONYMOUS, Cause, Key, SourceId
from controller.domain.verdicts import Verdict
from controller.store import history, streams

router = APIRouter(prefix="/events", tags=["events"], responses=documented(_400="the request cannot be understood"))


class EndRequest(Ending):
    """A stream has ended: the message of MQTT, with the key in it, and the source unless anonymous."""

    key: Name


@router.post("/stream_started", response_model=schemas.VerdictDocument, summary="Announce a stream, as MQTT would")
async def report_started(
    services: ServicesHere, view: ViewHere, request: Request, announced: AnnouncementRequest
) -> Response:
    verdict = await admit(services, to_event(announced, request))
    return await _answer_verdict(services, view, verdict, announced.key)


@router.post("/stream_ended", response_model=schemas.VerdictDocument, summary="Announce an end, as MQTT would")
async def report_ended(services: ServicesHere, view: ViewHere, request: Request, ended: EndRequest) -> Response:
    source_id = SourceId(ended.source or ANONYMOUS)
    cause = Cause(f"source:{source_id}", f"POST {request.url.path}")
    verdict = await admit(services, announcements.ending(source_id, Key(ended.key), ended, cause))
    return await _answer_verdict(services, view, verdict, ended.key)


@router.get(
    "",
    response_model=schemas.TransitionList,
    summary="List what happened, newest first, or follow it",
    description=(
        "With `Accept: text/event-stream`: server-sent events `transition`, each with its id and a document as in the "
        "list. It goes on after `Last-Event-ID` (or `?after=`), else with what happens from now on. `reset` says that "
        "the ids begin anew (the database was restored): read everything again."
    ),
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **documented(_503="too many clients follow already"),
    },
)
async def list_events(
    services: ServicesHere,
    request: Request,
    *,
    after: Annotated[int | None, Query(ge=0, le=sse.ID_MAX, description="Follow from this id on.")] = None,
    last_event_id: Annotated[str | None, Header(description="As `after`; what browsers send by themselves.")] = None,
    cursor: CursorHere = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    if _wants_stream(request):
        start = sse.parse_id(last_event_id) if last_event_id else after
        return StreamingResponse(await sse.open_stream(services, start), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)
    page = await services.database.read(history.page, cursor=cursor, limit=limit)
    found: schemas.TransitionList = {
        "items": [render.transition(entry) for entry in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


async def _answer_verdict(services: Services, view: View, verdict: Verdict, key: str) -> Response:
    run = (await services.database.read(streams.load_latest, [Key(key)])).get(Key(key))
    found: schemas.VerdictDocument = {
        "verdict": verdict,
        "stream": render.stream(run, view) if run is not None else None,
    }
    return answer(found)


def _wants_stream(request: Request) -> bool:
    return sse.MEDIA_TYPE in request.headers.get("accept", "").lower()
