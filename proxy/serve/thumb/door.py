"""GET /thumb/{key}.jpg: the newest key picture. It opens no upstream, and whoever asks for it is no viewer."""

from typing import Final

from aiohttp import ETag, web

from proxy.registry import Registry
from proxy.serve.answers import CORS, find_running
from proxy.serve.thumb.snapshots import FRESH_SECONDS, Snapshots

HEADERS: Final = CORS | {"Cache-Control": f"max-age={FRESH_SECONDS:.0f}"}
MEDIA_TYPE: Final = "image/jpeg"


class ThumbDoor:
    """The handlers of one application."""

    def __init__(self, registry: Registry, snapshots: Snapshots) -> None:
        self._registry = registry
        self._snapshots = snapshots

    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD: both look, so that both know the picture's tag."""
        snapshot = await self._snapshots.of(find_running(self._registry, request.match_info["key"]))
        if any(one.value in (snapshot.tag, "*") for one in request.if_none_match or ()):
            response = web.Response(status=304, headers=HEADERS)
        else:
            response = web.Response(body=snapshot.jpeg, headers=HEADERS, content_type=MEDIA_TYPE)
        response.etag = ETag(snapshot.tag)
        response.last_modified = snapshot.wall
        return response
