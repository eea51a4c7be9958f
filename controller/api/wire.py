"""What routes share: their parameters, checked for form, and how an answer is written."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import StringConstraints
from pydantic_core import to_json

from controller.announcements import LABEL_NAME_PATTERN, NAME_PATTERN, NO_CONTROLS
from controller.api.render import View
from controller.api.seen import Seen
from controller.api.services import Services
from controller.domain.model import Run, State
from controller.errors import InvalidError, NotFoundError
from controller.store import streams

T = TypeVar("T")

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
CURSOR_CHARACTERS_MAX = 512

OPEN_STATES = tuple(state for state in State if state is not State.CLOSED)
ACTIVE_STATES = tuple(state for state in State if state.is_active)
STATUSES: Mapping[str, Sequence[State]] = {
    "all": tuple(State),
    "active": ACTIVE_STATES,
    **{state.value.lower(): (state,) for state in State},
}


async def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesHere = Annotated[Services, Depends(get_services)]


async def get_view(request: Request, services: ServicesHere) -> View:
    return View(Seen(services.observed()), str(request.base_url).rstrip("/"))


ViewHere = Annotated[View, Depends(get_view)]

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items of a page, at most.")]
CursorHere = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=CURSOR_CHARACTERS_MAX,
        pattern=NO_CONTROLS,
        description="`next_cursor` of the page before this one.",
    ),
]
KeyHere = Annotated[str | None, Query(pattern=NAME_PATTERN, description="Only this key.")]
StreamName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="The id of a stream, or a key, which names its newest run.")
]
KeyInPath = Annotated[str, Path(pattern=NAME_PATTERN, description="The key of a stream.")]
StatusHere = Annotated[
    list[str],
    Query(
        description=f"One or more of {', '.join(STATUSES)}, repeated or with commas. By default what is not closed.",
    ),
]
LabelsHere = Annotated[
    list[str], Query(description="`name=value`: only streams with this label. Repeated: with all of them.")
]


# Of bodies: who wants something, why, and what of.
Owner = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROLS)]
Remark = Annotated[str, StringConstraints(max_length=200, pattern=NO_CONTROLS)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


def parse_statuses(given: Iterable[str]) -> tuple[State, ...]:
    """Return the states that ``?status=`` asks for; what is not CLOSED when it says nothing.

    Raises:
        InvalidError: there is no such status.
    """
    words = [word.strip().lower() for text in given for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in STATUSES]
    if unknown:
        raise InvalidError(f"query.status: {unknown[0][:32]!r} is none of {', '.join(STATUSES)}")
    found = {state for word in words for state in STATUSES[word]}
    return tuple(state for state in State if state in found) or OPEN_STATES


def parse_labels(given: Iterable[str]) -> dict[str, str]:
    """Return the labels that ``?label=`` asks for. Raises InvalidError for what is not ``name=value``."""
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not equals or not re.fullmatch(LABEL_NAME_PATTERN, name) or not re.fullmatch(NO_CONTROLS, value):
            raise InvalidError("query.label: must be name=value")
    return {name: value for name, _, value in pairs}


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Write a document as JSON. Its type was checked where it was made; it is not checked again."""
    content = to_json(document, inf_nan_mode="null")
    return Response(content, status_code=status, media_type="application/json", headers=dict(headers or {}))


async def find_run(services: Services, name: str) -> Run:
    """Return a run by its id, or the newest of a key. Raises NotFoundError."""
    run = await services.database.read(streams.find, name)
    if run is None:
        raise NotFoundError("stream", name)
    return run


def slice_page(
    items: Iterable[T], name: Callable[[T], str], cursor: str | None, limit: int
) -> tuple[list[T], str | None]:
    """Cut one page out of a list that exists in memory only: in the order of names, after the one in the cursor."""
    ordered = sorted(items, key=name)
    rest = [item for item in ordered if cursor is None or name(item) > cursor]
    return rest[:limit], name(rest[limit - 1]) if len(rest) > limit else None
