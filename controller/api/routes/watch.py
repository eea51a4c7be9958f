"""Where to watch: redirects to the proxy that carries a stream, and a playlist of them all."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from controller.api.problems import RefusedError, documented
from controller.api.seen import Seen, media_url
from controller.api.services import Services
from controller.api.wire import ACTIVE_STATES, LIMIT_MAX, KeyInPath, LabelsHere, ServicesHere, ViewHere, parse_labels
from controller.domain.model import Key, Output, Run, Stream
from controller.errors import NotFoundError
from controller.store import streams

router = APIRouter(tags=["watch"], responses=documented(_400="the request cannot be understood"))

ENDED_RECENTLY = timedelta(minutes=10)
"""For this long after its end a key answers 410 rather than 404, as the proxies do."""
RETRY_SECONDS = 1
PLAYLIST_MAX = 10_000
PLAYLIST_TYPE = "audio/x-mpegurl"
"""Of a list of streams. VLC takes what is called by the type of HLS for HLS, and does not open it."""

NAME_LABELS = ("tvg-name", "name", "title")
GROUP_LABELS = ("group-title", "group")
LOGO_LABELS = ("tvg-logo", "logo")

OutputHere = Annotated[Output | None, Query(description="By default `ts`, if the stream has it.")]


@router.head("/watch/{key}", include_in_schema=False)
@router.get(
    "/watch/{key}",
    status_code=307,
    response_class=RedirectResponse,
    summary="Go to the proxy that carries a stream",
    responses=documented(
        _404="there is no such stream, or no such output of it",
        _410="it has ended",
        _503="no proxy was seen to run it yet; come back after Retry-After seconds",
    ),
)
async def watch(services: ServicesHere, view: ViewHere, key: KeyInPath, output: OutputHere = None) -> Response:
    run = (await services.database.read(streams.load_latest, [Key(key)])).get(Key(key))
    if run is None:
        raise NotFoundError("stream", key)
    _check_not_over(run.stream, services.clock())
    if output is not None and output not in run.stream.spec.outputs:
        raise NotFoundError(f"output {output} of stream", key)
    return RedirectResponse(_find(run, view.seen, output or _default(run.stream)), HTTPStatus.TEMPORARY_REDIRECT)


@router.head("/playlist.m3u", include_in_schema=False)
@router.get(
    "/playlist.m3u",
    response_class=Response,
    summary="List what can be watched, for players",
    responses={200: {"content": {PLAYLIST_TYPE: {"schema": {"type": "string"}}}}},
)
async def show_playlist(
    services: ServicesHere,
    view: ViewHere,
    output: OutputHere = None,
    label: LabelsHere = [],  # noqa: B006 - FastAPI copies defaults, and documents them
) -> Response:
    runs = await _list_active(services, parse_labels(label))
    query = f"?output={output.value}" if output is not None else ""
    entries = [
        _entry(run.stream, f"{view.base_url}/watch/{run.stream.key}{query}")
        for run in sorted(runs, key=lambda run: run.stream.key)
        if output is None or output in run.stream.spec.outputs
    ]
    return Response("\n".join(["#EXTM3U", *entries, ""]), media_type=PLAYLIST_TYPE)


async def _list_active(services: Services, labels: dict[str, str]) -> list[Run]:
    runs: list[Run] = []
    cursor: str | None = None
    while True:
        page = await services.database.read(
            streams.page, states=ACTIVE_STATES, labels=labels, cursor=cursor, limit=LIMIT_MAX
        )
        runs += page.items
        cursor = page.next_cursor
        if cursor is None or len(runs) >= PLAYLIST_MAX:
            return runs


def _check_not_over(stream: Stream, now: datetime) -> None:
    if stream.state.is_active:
        return
    if stream.closed_at is not None and now - stream.closed_at > ENDED_RECENTLY:
        raise NotFoundError("stream", stream.key)
    raise RefusedError(HTTPStatus.GONE, "ended", f"stream {stream.key!r} has ended ({stream.reason})")


def _find(run: Run, seen: Seen, output: Output) -> str:
    public_url = seen.proxy_url(run)
    if public_url is None:
        detail = f"stream {run.stream.key!r} is {run.stream.state}, and no proxy was seen to run it yet"
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "not_placed_yet", detail, retry_seconds=RETRY_SECONDS)
    return media_url(public_url, run.stream.key, output)


def _default(stream: Stream) -> Output:
    return Output.TS if Output.TS in stream.spec.outputs else stream.spec.outputs[0]


def _entry(stream: Stream, url: str) -> str:
    labels = dict(stream.labels)
    name = _first(labels, NAME_LABELS) or stream.key
    attributes = {"tvg-id": stream.key, "tvg-name": name, "tvg-logo": _first(labels, LOGO_LABELS)}
    attributes["group-title"] = _first(labels, GROUP_LABELS)
    shown = " ".join(f'{label}="{_plain(value)}"' for label, value in attributes.items() if value)
    return f"#EXTINF:-1 {shown},{_plain(name)}\n{url}"


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _plain(text: str) -> str:
    """The format has no way to escape: a quote ends the value, a line end the entry."""
    return text.replace('"', "'").replace("\r", " ").replace("\n", " ")
