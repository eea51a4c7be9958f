"""Reads an HLS playlist with MPEG-TS segments (RFC 8216), live or on demand, as one run of bytes.

Segments are known by their media sequence numbers alone, and every one after the last that was read is fetched: a
late poll neither skips nor repeats anything. What a live window has dropped meanwhile becomes a discontinuity.
Not done here: encrypted segments, fragmented MP4, separate audio renditions; each is refused with its name.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import m3u8
from yarl import URL

from proxy.errors import UpstreamContentError, UpstreamError, UpstreamSilentError
from proxy.upstream.fetch import Client, HttpPolicy, parse_url, translated
from proxy.upstream.items import Discontinuity, Quiet, Reader, name_of

PLAYLIST_BYTES_MAX: Final = 4 * 1024 * 1024
LIVE_SEGMENTS_BEHIND: Final = 3
"""A live playlist is joined so many segments before its end (RFC 8216, 6.3.3)."""
LEAD_SECONDS: Final = 10.0
"""A playlist with an end is read no further ahead of real time than this."""
POLL_SECONDS_MIN: Final = 0.5
POLL_SECONDS_MAX: Final = 15.0
PLAYLIST_SECONDS_MAX: Final = 10.0
BACKWARD_POLLS_MAX: Final = 3
"""So many playlists in a row that end before what was read already are no stale copies."""
FAILURES_MAX: Final = 3
"""Attempts at one playlist or segment; and so many segments in a row that failed fail the upstream."""
RETRY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Segment:
    number: int
    url: URL
    seconds: float
    discontinuity: bool
    gap: bool
    offset: int = 0
    size: int | None = None
    """Length of the byte range; None for the whole resource."""


@dataclass(frozen=True, slots=True)
class Playlist:
    segments: tuple[Segment, ...]
    target_seconds: float
    ended: bool


class Cursor:
    """Which segment comes next; decides what a fresh playlist means for that. Pure."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._backward_polls = 0

    def due(self, playlist: Playlist) -> tuple[Sequence[Segment], bool]:
        """Return the segments to read now, in order, and whether something was lost before the first of them."""
        segments = playlist.segments
        if not segments:
            return (), False
        if self._next is None:
            return (segments if playlist.ended else segments[-LIVE_SEGMENTS_BEHIND:]), False
        if self._has_restarted(playlist, self._next):
            return segments[-LIVE_SEGMENTS_BEHIND:], True
        due = [segment for segment in segments if segment.number >= self._next]
        return due, bool(due) and due[0].number > self._next

    def passed(self, segment: Segment) -> None:
        self._next = segment.number + 1

    def _has_restarted(self, playlist: Playlist, following: int) -> bool:
        """Tell another run of the encoder under the same address from a cache's old copy of the playlist."""
        if playlist.segments[-1].number >= following - 1:
            self._backward_polls = 0
            return False
        self._backward_polls += 1
        return self._backward_polls >= BACKWARD_POLLS_MAX


async def read(client: Client, policy: HttpPolicy) -> Reader:
    """Yield the segments' bytes in order; end when a playlist with an end has been read."""
    url = await _find_media_playlist(client, policy)
    cursor = Cursor()
    began = asyncio.get_running_loop().time()
    passed_seconds = 0.0
    in_a_row = 0
    while True:
        playlist = parse_media(*await _load_patiently(client, url, policy))
        yield Quiet(2 * playlist.target_seconds)
        due, lost = cursor.due(playlist)
        for segment in due:
            if lost or segment.discontinuity:
                yield Discontinuity()
            if playlist.ended:
                await _sleep_until(began + passed_seconds - LEAD_SECONDS)
                passed_seconds += segment.seconds
            cursor.passed(segment)
            try:
                async for chunk in _segment(client, segment, policy):
                    yield chunk
            except UpstreamError:
                in_a_row += 1
                if in_a_row >= FAILURES_MAX:
                    raise
                lost = True
            else:
                in_a_row = 0
                lost = segment.gap
        if playlist.ended:
            await _sleep_until(began + passed_seconds)
            return
        await asyncio.sleep(_poll_seconds(playlist, had_news=bool(due)))


def _poll_seconds(playlist: Playlist, *, had_news: bool) -> float:
    """RFC 8216, 6.3.4: a segment's time after a change, half a target duration when nothing had changed."""
    wait = playlist.segments[-1].seconds if had_news and playlist.segments else playlist.target_seconds / 2
    return min(max(wait, POLL_SECONDS_MIN), POLL_SECONDS_MAX)


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))


async def _segment(client: Client, segment: Segment, policy: HttpPolicy) -> AsyncGenerator[bytes, None]:
    """Yield one segment's bytes; try again while nothing of it has been passed on and waiting may help."""
    if segment.gap:
        return
    for attempt in range(1, FAILURES_MAX + 1):
        sent = False
        try:
            async for chunk in _segment_bytes(client, segment, policy):
                sent = True
                yield chunk
        except UpstreamError as error:
            if sent or error.lasting or attempt == FAILURES_MAX:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def _segment_bytes(client: Client, segment: Segment, policy: HttpPolicy) -> AsyncGenerator[bytes, None]:
    skip, left = 0, segment.size
    headers = {}
    if segment.size is not None:
        headers["Range"] = f"bytes={segment.offset}-{segment.offset + segment.size - 1}"
    async with client.get(segment.url, headers) as response:
        if segment.size is not None and response.status == 200:
            skip = segment.offset  # the server does not know ranges
        with translated(response.url, policy):
            async for chunk in response.content.iter_any():
                part = chunk[skip:]
                skip = max(0, skip - len(chunk))
                if left is not None:
                    part, left = part[:left], max(0, left - len(part))
                if part:
                    yield part
                if left == 0:
                    return


async def _find_media_playlist(client: Client, policy: HttpPolicy) -> URL:
    text, url = await _load_patiently(client, client.url, policy)
    playlist = _parse(text)
    if not playlist.is_variant:
        return client.url  # not where it redirected to: a redirect may spread the load anew
    separate = {media.group_id for media in playlist.media if media.type == "AUDIO" and media.uri}
    variants = [variant for variant in playlist.playlists if variant.stream_info.audio not in separate]
    if not variants:
        raise UpstreamContentError("the playlist keeps audio in separate renditions, which are not supported")
    best = max(variants, key=lambda variant: variant.stream_info.bandwidth or 0)
    return _join(url, best.uri)


async def _load_patiently(client: Client, url: URL, policy: HttpPolicy) -> tuple[str, URL]:
    """Return a playlist and where it was found; one poll may fail now and then."""
    for _ in range(FAILURES_MAX - 1):
        try:
            return await _load(client, url, policy)
        except UpstreamError as error:
            if error.lasting:
                raise
            await asyncio.sleep(RETRY_SECONDS)
    return await _load(client, url, policy)


async def _load(client: Client, url: URL, policy: HttpPolicy) -> tuple[str, URL]:
    try:
        async with asyncio.timeout(PLAYLIST_SECONDS_MAX), client.get(url) as response:
            body = bytearray()
            with translated(url, policy):
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > PLAYLIST_BYTES_MAX:
                        raise UpstreamContentError("the playlist is too large")
            return body.decode("utf-8", errors="replace"), response.url
    except TimeoutError:
        raise UpstreamSilentError(PLAYLIST_SECONDS_MAX) from None


def parse_media(text: str, url: URL) -> Playlist:
    """Read a media playlist that was found at ``url``; raise UpstreamContentError for what is not supported."""
    parsed = _parse(text)
    if parsed.is_variant:
        raise UpstreamContentError("the playlist leads to another list of variants")
    if any(key is not None and key.method != "NONE" for key in parsed.keys):
        raise UpstreamContentError("encrypted HLS is not supported")
    if parsed.segment_map:
        raise UpstreamContentError("HLS with fragmented MP4 is not supported")
    segments = []
    end_of_range = 0
    for number, segment in enumerate(parsed.segments, parsed.media_sequence or 0):
        size, offset = _byte_range(segment.byterange, end_of_range)
        end_of_range = offset + (size or 0)
        segments.append(
            Segment(
                number=number,
                url=_join(url, segment.uri),
                seconds=float(segment.duration or parsed.target_duration or 0),
                discontinuity=bool(segment.discontinuity),
                gap=bool(segment.gap_tag),
                offset=offset,
                size=size,
            )
        )
    return Playlist(tuple(segments), float(parsed.target_duration or 1), bool(parsed.is_endlist))


def _byte_range(text: str | None, end_of_last: int) -> tuple[int | None, int]:
    """``n@o``, or ``n`` for what follows the last range (RFC 8216, 4.3.2.2)."""
    if not text:
        return None, 0
    size, _, offset = text.partition("@")
    try:
        return int(size), int(offset) if offset else end_of_last
    except ValueError:
        raise UpstreamContentError("the playlist has a byte range that cannot be read") from None


def _join(base: URL, reference: str) -> URL:
    try:
        return parse_url(str(base.join(URL(reference, encoded=reference.isascii() and " " not in reference))))
    except ValueError:
        raise UpstreamContentError("the playlist has an address that cannot be read") from None


def _parse(text: str) -> m3u8.M3U8:
    if not text.lstrip("\ufeff \r\n").startswith("#EXTM3U"):
        raise UpstreamContentError(f"upstream sends {name_of(text[:64].encode())}, not a playlist")
    try:
        return m3u8.loads(text)
    except (m3u8.ParseError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise UpstreamContentError("the playlist cannot be read") from None
