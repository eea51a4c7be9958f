"""The loop that reads an HLS upstream: its playlist again and again, and every segment that becomes due.

A list with an end (EXT-X-ENDLIST) ends the upstream once it has been read, no faster than it plays. What is lost on
the way (a gap, a segment that fails, one that the window has dropped) is a discontinuity; too many segments in a row
that fail are an error.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from yarl import URL

from proxy.core.psi import SYNC
from proxy.errors import UpstreamContentError, UpstreamError
from proxy.upstream.fetch import Client, HttpPolicy
from proxy.upstream.hls import variant
from proxy.upstream.hls.cursor import POLL_SECONDS_MAX, Cursor, poll_seconds
from proxy.upstream.hls.download import Download, join
from proxy.upstream.hls.playlist import MasterPlaylist, MediaPlaylist, Segment, parse
from proxy.upstream.items import Discontinuity, FragmentBegins, FragmentEnds, Quiet, Reader, name_of

LEAD_SECONDS: Final = 10.0
"""A playlist with an end is read no further ahead of real time than this."""
BOX_HEAD_BYTES: Final = 8
BOXES: Final = frozenset(b"ftyp styp moov moof sidx ssix emsg prft free skip uuid".split())
"""What initialisations and segments of fragmented MP4 begin with (ISO/IEC 14496-12, 23009-1)."""
FAILURES_MAX: Final = 3
"""So many segments in a row that failed fail the upstream."""


async def read(client: Client, policy: HttpPolicy) -> Reader:
    """Yield the segments' bytes in order; end when a playlist with an end has been read."""
    download = Download(client, policy)
    now = asyncio.get_running_loop().time
    cursor, segments = Cursor(), _Segments(download)
    asked_at = now()
    url, playlist, base = await _first(download, client.url)
    while True:
        yield Quiet(2 * min(playlist.target_seconds, POLL_SECONDS_MAX))
        segments.target_seconds = playlist.longest_seconds
        due, lost = cursor.due(playlist)
        for segment in due:
            if playlist.ended:
                await segments.pace(segment)
            cursor.passed(segment)
            async with aclosing(segments.read(base, segment, lost=lost)) as items:
                async for item in items:
                    yield item
            lost = False
        if playlist.ended:
            await segments.play_out()
            return
        await _sleep_until(asked_at + poll_seconds(playlist, had_news=bool(due)))
        asked_at = now()
        playlist, base = await _media(download, url)


class _Segments:
    """Reads segment after segment, and remembers whether the next one continues the last."""

    def __init__(self, download: Download) -> None:
        self.target_seconds = 0.0
        """None of the list's segments is longer."""
        self._download = download
        self._tables = b""
        """What the list has for a beginning of MPEG-TS, once it has been passed on."""
        self._broken = False
        self._failed_in_a_row = 0
        self._began = asyncio.get_running_loop().time()
        self._passed_seconds = 0.0

    async def pace(self, segment: Segment) -> None:
        """Wait until a segment of a list with an end is due, somewhat ahead of its time."""
        await _sleep_until(self._began + self._passed_seconds - LEAD_SECONDS)
        self._passed_seconds += segment.seconds

    async def play_out(self) -> None:
        """Wait until all that was paced would have been played."""
        await _sleep_until(self._began + self._passed_seconds)

    async def read(self, base: URL, segment: Segment, *, lost: bool) -> Reader:
        if lost or self._broken or segment.discontinuity:
            yield Discontinuity()
            self._download.forget_initialisations()  # another run of an encoder writes them anew under the same name
        self._broken = segment.gap
        if segment.gap:
            return
        try:
            async with aclosing(self._items(base, segment)) as items:
                async for item in items:
                    yield item
        except UpstreamError:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILURES_MAX:
                raise
            self._broken = True
        else:
            self._failed_in_a_row = 0

    async def _items(self, base: URL, segment: Segment) -> Reader:
        """Yield what one segment is: bytes of MPEG-TS, or a fragment between its two ends."""
        initialisation = b"" if segment.map is None else await self._download.initialisation(base, segment.map)
        async with aclosing(self._download.segment(base, segment)) as chunks:
            items = (
                _fragment(chunks, segment, FragmentBegins(initialisation, self.target_seconds))
                if _is_mp4(initialisation)
                else self._packets(chunks, initialisation)
            )
            async with aclosing(items):
                async for item in items:
                    yield item

    async def _packets(self, chunks: AsyncGenerator[bytes, None], tables: bytes) -> Reader:
        if tables and tables[0] != SYNC:
            raise UpstreamContentError(f"the playlist's initialisation is {name_of(tables)}, not MP4 or MPEG-TS")
        if tables != self._tables:
            self._tables = tables
            yield tables
        async for chunk in chunks:
            yield chunk


async def _fragment(chunks: AsyncGenerator[bytes, None], segment: Segment, begins: FragmentBegins) -> Reader:
    head = b""
    begun = False
    async for chunk in chunks:
        if begun:
            yield chunk
            continue
        head += chunk
        if len(head) >= BOX_HEAD_BYTES:
            if not _is_mp4(head):
                raise UpstreamContentError(f"a segment of fragmented MP4 is {name_of(head)}")
            yield begins
            yield head
            begun = True
    if begun:
        yield FragmentEnds(segment.seconds)


def _is_mp4(head: bytes) -> bool:
    return head[4:BOX_HEAD_BYTES] in BOXES


async def _first(download: Download, url: URL) -> tuple[URL, MediaPlaylist, URL]:
    """Return where the media playlist is to be asked for, the playlist, and where it was found."""
    wished = variant.wish(url.fragment)
    text, base = await download.playlist(url)
    playlist = parse(text)
    if isinstance(playlist, MasterPlaylist):
        url = join(base, variant.choose(playlist.variants, wished).uri)
        return url, *await _media(download, url)
    return url, playlist, base  # not where it was found: a redirect may spread the load anew


async def _media(download: Download, url: URL) -> tuple[MediaPlaylist, URL]:
    text, base = await download.playlist(url)
    playlist = parse(text)
    if isinstance(playlist, MasterPlaylist):
        raise UpstreamContentError("the playlist leads to another list of variants")
    return playlist, base


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
