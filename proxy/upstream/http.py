"""Reads MPEG-TS over HTTP(S): one GET whose body is the stream. A body with a length is a file: it is paced.

A body that turns out to be an HLS playlist is not read here: ``PlaylistFoundError`` says where it lies.
"""

from typing import Final

from proxy.errors import UpstreamError
from proxy.upstream.fetch import Client, HttpPolicy, translated
from proxy.upstream.items import Reader
from proxy.upstream.pace import Pacer

PLAYLIST_TYPES: Final = frozenset({"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl"})


class PlaylistFoundError(UpstreamError):
    """What was taken for MPEG-TS is an HLS playlist."""

    def __init__(self) -> None:
        super().__init__("the upstream is an HLS playlist")


async def read(client: Client, policy: HttpPolicy) -> Reader:
    """Yield the body as it comes, a file no faster than its clock."""
    async with client.get(client.url) as response:
        if response.content_type.lower() in PLAYLIST_TYPES:
            raise PlaylistFoundError
        pacer = Pacer() if response.content_length is not None else None
        with translated(response.url, policy):
            async for chunk in response.content.iter_any():
                if pacer is not None:
                    await pacer.pace(chunk)
                yield chunk
