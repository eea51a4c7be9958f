"""Reads MPEG-TS over HTTP(S): one GET whose body is the stream. A body with a length is a file: it is paced.

A body that turns out to be an HLS playlist is not read here: ``PlaylistFoundError`` says where it lies.
"""

from typing import Final

from aiohttp import ClientResponse

from proxy.errors import UpstreamError
from proxy.upstream import body, pace
from proxy.upstream.fetch import Client, HttpPolicy, translated
from proxy.upstream.items import Quiet, Reader

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
        with translated(response.url, policy):
            if response.content_length is None:
                async for part in body.gathered(response, policy.read_timeout_seconds):
                    yield part
            else:
                yield Quiet(pace.LEAD_SECONDS)
                async for item in _read_file(response):
                    yield item


async def _read_file(response: ClientResponse) -> Reader:
    pacer = pace.Pacer()
    async for chunk in response.content.iter_chunked(pace.CHUNK_BYTES):
        await pacer.pace(chunk)
        yield chunk
    await pacer.finish()
