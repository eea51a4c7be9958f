"""Streams: what is meant to play, what plays for it, and why it is so."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from controller import announcements
from controller.announcements import Announcement, Name
from controller.api import render, schemas, story
from controller.api.problems import RefusedError, documented
from controller.api.routes import viewers
from controller.api.services import Services
from controller.api.wire import (
    LIMIT_DEFAULT,
    CursorHere,
    KeyHere,
    LabelsHere,
    Limit,
    ServicesHere,
    StatusHere,
    StreamName,
    ViewHere,
    answer,
    find_run,
    parse_labels,
    parse_statuses,
    slice_page,
)
from controller.domain.events import StopRequested, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import ANONYMOUS, Cause, Key, SourceId
from controller.domain.verdicts import Verdict
from controller.store import drift, history, record, stats, streams

router = APIRouter(tags=["streams"], responses=documented(_400="the request cannot be understood"))

NO_STREAM = documented(_404="there is no such stream")
STORY_ENTRIES_MAX = 200
OPERATOR = "operator:api"
DETAIL_CHARACTERS_MAX = 200

GRANTED = frozenset({Verdict.STARTED, Verdict.UPDATED, Verdict.REPEATED})
REFUSALS = {
    Verdict.NOT_OWNER: "this key belongs to another source until its run is CLOSED",
    Verdict.STALE: "a newer message about this stream has been taken already",
    Verdict.ALREADY_ENDED: "this epoch of the stream has ended already",
    Verdict.REGRESSED: "a new boot_id counts epochs below the ones used before; announce with a higher epoch",
    Verdict.BLOCKED: "this key ended because it played a loop, and is blocked for a while; see /blocks",
    Verdict.UNNUMBERED: "this stream was announced with epoch and seq, and now needs them",
}


class AnnouncementRequest(Announcement):
    """A stream runs, or how it runs now: the message of MQTT, with the key in it, and the source unless anonymous."""

    key: Name


@router.get("/streams", response_model=schemas.StreamList, summary="List streams, newest first")
async def list_streams(
    services: ServicesHere,
    view: ViewHere,
    *,
    status: StatusHere = [],  # noqa: B006 - FastAPI copies defaults, and documents them
    key: KeyHere = None,
    label: LabelsHere = [],  # noqa: B006 - as above
    cursor: CursorHere = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    page = await services.database.read(
        streams.page,
        states=parse_statuses(status),
        key=key,
        labels=parse_labels(label),
        cursor=cursor,
        limit=limit,
    )
    found: schemas.StreamList = {
        "items": [render.stream(run, view) for run in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.post(
    "/streams",
    response_model=schemas.StreamDocument,
    status_code=201,
    summary="Announce a stream",
    responses={
        200: {"description": "It runs already, as announced now", "model": schemas.StreamDocument},
        **documented(_409="the announcement does not count; `verdict` says why"),
    },
)
async def announce_stream(
    services: ServicesHere, view: ViewHere, request: Request, announced: AnnouncementRequest
) -> Response:
    verdict = await admit(services, to_event(announced, request))
    if verdict not in GRANTED:
        detail = REFUSALS.get(verdict, f"the announcement does not count: {verdict}")
        raise RefusedError(HTTPStatus.CONFLICT, verdict.value, detail, extra={"verdict": verdict.value})
    run = await find_run(services, announced.key)
    headers = {"Location": f"/streams/{run.stream.id}"}
    return answer(render.stream(run, view), 201 if verdict is Verdict.STARTED else 200, headers)


@router.get("/streams/{name}", response_model=schemas.StreamDocument, responses=NO_STREAM, summary="Show a stream")
async def show_stream(services: ServicesHere, view: ViewHere, name: StreamName) -> Response:
    return answer(render.stream(await find_run(services, name), view))


@router.delete(
    "/streams/{name}",
    response_model=schemas.StreamDocument,
    summary="Stop a stream",
    description="Ends exactly this run. Repeating it changes nothing.",
    responses={
        202: {
            "description": "Its end is decided; it is CLOSED once every proxy was seen to have stopped it",
            "model": schemas.StreamDocument,
        },
        **NO_STREAM,
    },
)
async def stop_stream(
    services: ServicesHere,
    view: ViewHere,
    name: StreamName,
    detail: Annotated[
        str,
        Query(max_length=DETAIL_CHARACTERS_MAX, pattern=announcements.NO_CONTROLS, description="Why, for the history."),
    ] = "",
) -> Response:
    run = await find_run(services, name)
    if run.stream.state.is_active:
        await admit(services, StopRequested(run.stream.id, Cause(OPERATOR, f"DELETE /streams/{name}"), detail))
        run = await find_run(services, run.stream.id)
    return answer(render.stream(run, view), 200 if run.stream.closed_at is not None else 202)


@router.get(
    "/streams/{name}/transitions",
    response_model=schemas.TransitionList,
    responses=NO_STREAM,
    summary="List what happened to a stream, newest first",
)
async def list_transitions(
    services: ServicesHere, name: StreamName, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT
) -> Response:
    run = await find_run(services, name)
    page = await services.database.read(history.page, stream_id=run.stream.id, cursor=cursor, limit=limit)
    found: schemas.TransitionList = {
        "items": [render.transition(entry) for entry in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.get(
    "/streams/{name}/sessions",
    response_model=schemas.SessionList,
    responses=NO_STREAM,
    summary="List the placements and sessions of a stream",
)
async def list_stream_sessions(
    services: ServicesHere, view: ViewHere, name: StreamName, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT
) -> Response:
    run = await find_run(services, name)
    stream = run.stream
    documents: list[schemas.StreamSessionDocument] = [
        {"stream_id": stream.id, "key": stream.key, "epoch": stream.epoch, **session}
        for session in render.sessions_of(run, view.seen)
    ]
    items, next_cursor = slice_page(documents, render.session_name, cursor, limit)
    found: schemas.SessionList = {"items": items, "next_cursor": next_cursor}
    return answer(found)


@router.get(
    "/streams/{name}/viewers",
    response_model=schemas.ViewerList,
    responses=NO_STREAM,
    summary="List who watches a stream",
)
async def list_stream_viewers(
    services: ServicesHere, view: ViewHere, name: StreamName, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT
) -> Response:
    run = await find_run(services, name)
    proxy_ids = {sighting.view.proxy_id for sighting in view.seen.of(run.stream.id)}
    gathered = await viewers.gather(services, proxy_ids)
    watching = [viewer for viewer in gathered.viewers if viewer.stream_id == run.stream.id]
    return answer(viewers.document(watching, gathered.unreachable, cursor, limit))


@router.get(
    "/streams/{name}/stats",
    response_model=schemas.SampleList,
    responses=NO_STREAM,
    summary="List the source's own figures about a stream, oldest first",
)
async def list_stats(services: ServicesHere, name: StreamName) -> Response:
    run = await find_run(services, name)
    samples = await services.database.read(stats.samples, run.stream.id)
    newest = await services.database.read(stats.newest, [run.stream.id])
    last = newest.get(run.stream.id)
    found: schemas.SampleList = {
        "items": [render.sample(sample) for sample in samples],
        "next_cursor": None,
        "newest": render.sample(last) if last is not None else None,
    }
    return answer(found)


@router.get(
    "/streams/{name}/why",
    response_model=schemas.StoryDocument,
    responses=NO_STREAM,
    summary="Tell why a stream is as it is",
)
async def tell_why(services: ServicesHere, view: ViewHere, name: StreamName) -> Response:
    run = await find_run(services, name)
    read = services.database.read
    past = await read(history.page, stream_id=run.stream.id, limit=STORY_ENTRIES_MAX)
    drifts = await read(drift.page, open_only=False, stream_id=run.stream.id, limit=STORY_ENTRIES_MAX)
    return answer(story.tell(run, past, drifts.items, view.seen, services.clock()))


async def admit(services: Services, event: StreamAnnounced | StreamEndAnnounced | StopRequested) -> Verdict:
    """Take one event into the database by the rules that hold for MQTT, and wake whom it concerns."""
    recorded = await services.database.write(record.record_now, [event], new_id=services.new_id)
    services.ask_for_births(recorded.rebirths)
    services.wake(recorded.keys)
    return recorded.verdicts[0]


def to_event(announced: AnnouncementRequest, request: Request) -> StreamAnnounced:
    source_id = SourceId(announced.source or ANONYMOUS)
    cause = Cause(f"source:{source_id}", f"POST {request.url.path}")
    return announcements.announcement(source_id, Key(announced.key), announced, cause)
