"""Keys that may not start again for a while."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from typing_extensions import TypedDict

from controller.announcements import NAME_PATTERN
from controller.api.problems import documented
from controller.api.wire import LIMIT_DEFAULT, CursorHere, Limit, ServicesHere, answer
from controller.domain.model import ANONYMOUS, Key, Reason
from controller.errors import NotFoundError
from controller.store import blocks
from controller.store.blocks import KnownBlock


class BlockDocument(TypedDict):
    """A key that may not start again before ``expires_at``, and the announcements that were refused for it."""

    key: str
    stream_id: str
    reason: Reason
    detail: str
    blocked_at: datetime
    expires_at: datetime
    refused: int
    refused_at: datetime | None
    refused_source: str | None


class BlockList(TypedDict):
    items: list[BlockDocument]
    next_cursor: str | None


router = APIRouter(tags=["blocks"], responses=documented(_400="the request cannot be understood"))


@router.get("/blocks", response_model=BlockList, summary="List the keys that may not start again for now")
async def list_blocks(services: ServicesHere, cursor: CursorHere = None, limit: Limit = LIMIT_DEFAULT) -> Response:
    page = await services.database.read(blocks.page_now, cursor=cursor, limit=limit)
    found: BlockList = {
        "items": [_render(known) for known in page.items],
        "next_cursor": page.next_cursor,
    }
    return answer(found)


@router.delete(
    "/blocks/{key}",
    status_code=204,
    response_class=Response,
    summary="Let a key start again, with its next announcement; its source is asked for a birth",
    responses=documented(_404="the key is not blocked"),
)
async def remove_block(
    services: ServicesHere, key: Annotated[str, Path(pattern=NAME_PATTERN, description="The key.")]
) -> Response:
    removed = await services.database.write(blocks.remove, Key(key))
    if removed is None:
        raise NotFoundError("block", key)
    if removed.refused_source not in (None, ANONYMOUS):
        services.ask_for_births([removed.refused_source])
    return Response(status_code=204)


def _render(known: KnownBlock) -> BlockDocument:
    held = known.block
    return {
        "key": held.key,
        "stream_id": held.stream_id,
        "reason": held.reason,
        "detail": held.detail,
        "blocked_at": held.blocked_at,
        "expires_at": held.expires_at,
        "refused": known.refused,
        "refused_at": known.refused_at,
        "refused_source": known.refused_source,
    }
