"""Fetches what playlists name, within bounds: playlists, keys, initialisations and segments.

Addresses are resolved here, so nothing is asked for that ``fetch`` would not allow. What can be tried again is, a few
times; what cannot is one UpstreamError. Keys and initialisations are remembered, a handful of them.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from aiohttp import ClientResponse
from yarl import URL

from proxy.core.fragments import INITIALISATION_BYTES_MAX
from proxy.errors import UpstreamContentError, UpstreamError, UpstreamLostError, UpstreamSilentError
from proxy.upstream.fetch import Client, HttpPolicy, parse_url, translated
from proxy.upstream.hls.cipher import KEY_BYTES, Decrypter
from proxy.upstream.hls.playlist import Key, Map, Part, Segment

PLAYLIST_BYTES_MAX: Final = 4 * 1024 * 1024
WHOLE_SECONDS_MAX: Final = 10.0
"""For a playlist or a key from first to last byte; segments may take as long as bytes keep coming."""
INITIALISATIONS_MAX: Final = 4
KEYS_MAX: Final = 16
TRIES_MAX: Final = 3
"""Attempts at one playlist, key or segment."""
RETRY_SECONDS: Final = 0.5
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)", re.ASCII)

Found = TypeVar("Found")


class Download:
    """One reader's downloads."""

    def __init__(self, client: Client, policy: HttpPolicy) -> None:
        self._client = client
        self._policy = policy
        self._keys: OrderedDict[URL, bytes] = OrderedDict()
        self._initialisations: OrderedDict[tuple[URL, Map], bytes] = OrderedDict()

    async def playlist(self, url: URL) -> tuple[str, URL]:
        """Return a playlist and where it was found; one poll may fail now and then."""

        async def load() -> tuple[str, URL]:
            body, found_at = await self._whole(url, PLAYLIST_BYTES_MAX)
            if len(body) > PLAYLIST_BYTES_MAX:
                raise UpstreamContentError("the playlist is too large")
            return body.decode("utf-8", errors="replace"), found_at

        return await _patiently(load)

    async def segment(self, base: URL, segment: Segment) -> AsyncGenerator[bytes, None]:
        """Yield one segment's bytes; try again while nothing of it has been passed on and waiting may help."""
        for attempt in range(1, TRIES_MAX + 1):
            sent = False
            try:
                async with aclosing(self._plain(base, segment)) as chunks:
                    async for chunk in chunks:
                        sent = True
                        yield chunk
            except UpstreamError as error:
                if sent or error.lasting or attempt == TRIES_MAX:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def initialisation(self, base: URL, told: Map) -> bytes:
        """Return what has to be read before the segments that name it."""
        name = (base, told)
        if name not in self._initialisations:
            whole = Segment(0, told.uri, 0.0, part=told.part, key=told.key)
            content = b""
            async with aclosing(self.segment(base, whole)) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) > INITIALISATION_BYTES_MAX:
                        raise UpstreamContentError("the playlist's initialisation is too large")
            self._initialisations[name] = content
            if len(self._initialisations) > INITIALISATIONS_MAX:
                self._initialisations.popitem(last=False)
        self._initialisations.move_to_end(name)
        return self._initialisations[name]

    def forget_initialisations(self) -> None:
        """Fetch them again when they are needed: others may lie in their places."""
        self._initialisations.clear()

    async def _plain(self, base: URL, segment: Segment) -> AsyncGenerator[bytes, None]:
        key = segment.key
        decrypter = None if key is None else Decrypter(await self._key(base, key), key.iv, segment.number)
        async with aclosing(self._bytes(join(base, segment.uri), segment.part)) as chunks:
            async for chunk in chunks:
                plain = chunk if decrypter is None else decrypter.push(chunk)
                if plain:
                    yield plain
        if decrypter is not None and key is not None:
            try:
                yield decrypter.finish()
            except UpstreamContentError:
                self._keys.pop(join(base, key.uri), None)  # another key may lie there by now
                raise

    async def _key(self, base: URL, key: Key) -> bytes:
        url = join(base, key.uri)
        if url not in self._keys:
            try:
                body, _ = await self._whole(url, KEY_BYTES)
            except UpstreamError as error:
                raise UpstreamError(f"no key for a segment: {error.detail}", lasting=error.lasting) from None
            if len(body) != KEY_BYTES:
                raise UpstreamContentError("what the playlist names as a key is none")
            self._keys[url] = body
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)
        self._keys.move_to_end(url)
        return self._keys[url]

    async def _whole(self, url: URL, bytes_max: int) -> tuple[bytes, URL]:
        """Return a body and where it was found; of one that is too long, little more than ``bytes_max``."""
        try:
            async with asyncio.timeout(WHOLE_SECONDS_MAX), self._client.get(url) as response:
                body = bytearray()
                with translated(url, self._policy):
                    async for chunk in response.content.iter_any():
                        body += chunk
                        if len(body) > bytes_max:
                            break
                return bytes(body), response.url
        except TimeoutError:
            raise UpstreamSilentError(WHOLE_SECONDS_MAX) from None

    async def _bytes(self, url: URL, part: Part | None) -> AsyncGenerator[bytes, None]:
        """Yield a resource, or a part of it, cut out here when the server does not know ranges."""
        headers = {}
        if part is not None:
            headers = {"Range": f"bytes={part.offset}-{part.end - 1}", "Accept-Encoding": "identity"}
        async with self._client.get(url, headers) as response:
            skip = 0 if part is None else part.offset - _offset_of(response, part)
            left = None if part is None else part.size
            with translated(url, self._policy):
                async for chunk in response.content.iter_any():
                    piece = chunk[skip:] if left is None else chunk[skip : skip + left]
                    skip = max(0, skip - len(chunk))
                    if piece:
                        yield piece
                    if left is not None:
                        left -= len(piece)
                        if not left:
                            return
        if left:
            raise UpstreamLostError("a segment is shorter than its byte range")


def join(base: URL, reference: str) -> URL:
    """Return the address that a playlist at ``base`` means; raise UpstreamError when it cannot be one."""
    try:
        return parse_url(str(base.join(URL(reference, encoded=reference.isascii() and " " not in reference))))
    except ValueError:
        raise UpstreamContentError("the playlist has an address that cannot be read") from None


def _offset_of(response: ClientResponse, part: Part) -> int:
    """Where the body begins in the resource: at the part, or, without ranges, at 0."""
    if response.status != 206:
        return 0
    told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if told is not None and int(told[1]) > part.offset:
        raise UpstreamContentError("the upstream sends another byte range than it was asked for")
    return int(told[1]) if told is not None else part.offset


async def _patiently(work: Callable[[], Awaitable[Found]]) -> Found:
    for _ in range(TRIES_MAX - 1):
        try:
            return await work()
        except UpstreamError as error:
            if error.lasting:
                raise
            await asyncio.sleep(RETRY_SECONDS)
    return await work()
