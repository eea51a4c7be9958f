"""Reads HLS playlists (RFC 8216, section 4; EXT-X-GAP and hold-back from its successor) into values.

Pure, and one pass over the lines: a day of segments in one list is read in a fraction of a second. Whatever the text
is, the outcome is a playlist or an UpstreamContentError. Tags that change nothing for a reader are passed over.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.errors import UpstreamContentError
from proxy.upstream.items import name_of, printable

IDENTITY: Final = "identity"
"""The key format of plain AES-128: the key is the body of the answer."""
TARGET_SECONDS: Final = 6.0
"""Of a playlist that has neither a target duration nor a segment."""
IV_BYTES: Final = 16
LINES_MAX: Final = 250_000
SEGMENTS_MAX: Final = 50_000
"""More than a day of segments of two seconds; everybody on the loop waits while they are read."""
ATTRIBUTES_MAX: Final = 64
"""Of one tag; what follows them is passed over."""
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{0,18})?", re.ASCII)
_RANGE: Final = re.compile(r"(\d{1,18})(?:@(\d{1,18}))?", re.ASCII)
_IV: Final = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})")
_ATTRIBUTE: Final = re.compile(r'\s*([A-Z0-9-]{1,64})=("[^"]*"|[^,]*)(?:,|$)')
_HEIGHT: Final = re.compile(r"\d{1,6}x(\d{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes of a resource (EXT-X-BYTERANGE)."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Key:
    """AES-128 with the key that lies at ``uri``; without ``iv``, a segment's number is its initialisation vector."""

    uri: str
    iv: bytes | None


@dataclass(frozen=True, slots=True)
class Map:
    """What has to be read before the segments it stands for (EXT-X-MAP)."""

    uri: str
    part: Part | None
    key: Key | None


@dataclass(frozen=True, slots=True)
class Segment:
    number: int
    uri: str
    """As the playlist has it, relative or not."""
    seconds: float
    discontinuity: bool = False
    gap: bool = False
    part: Part | None = None
    key: Key | None = None
    map: Map | None = None


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    segments: tuple[Segment, ...]
    target_seconds: float
    ended: bool
    hold_back_seconds: float
    """How far before its end a live playlist is joined."""

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)

    @property
    def longest_seconds(self) -> float:
        """What no segment exceeds: the target, or more where one of those listed does not keep to it."""
        return max(self.target_seconds, *(segment.seconds for segment in self.segments), 0.0)


@dataclass(frozen=True, slots=True)
class Variant:
    """One quality; ``height`` is 0 when it is not told."""

    uri: str
    bandwidth: int
    height: int
    separate_audio: bool
    """Its sound lies in playlists of their own."""


@dataclass(frozen=True, slots=True)
class MasterPlaylist:
    variants: tuple[Variant, ...]


def parse(text: str) -> MediaPlaylist | MasterPlaylist:
    """Return what the text is; raise UpstreamContentError for what is no playlist or is not supported."""
    if text.count("\n") > LINES_MAX:
        raise UpstreamContentError(f"the playlist has more than {LINES_MAX} lines")
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    lines = [line for line in lines if line]
    if not lines or not lines[0].startswith("#EXTM3U"):
        raise UpstreamContentError(f"upstream sends {name_of(text[:64].encode())}, not a playlist")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return _Master().read(lines)
    return _Media().read(lines)


class _Master:
    """Gathers variants; what is told of renditions may stand before or after them."""

    def __init__(self) -> None:
        self._separate: set[str] = set()
        self._found: list[tuple[str, dict[str, str]]] = []

    def read(self, lines: list[str]) -> MasterPlaylist:
        told: dict[str, str] | None = None
        for line in lines:
            tag, _, value = line.partition(":")
            if tag == "#EXT-X-STREAM-INF":
                told = attributes(value)
            elif tag == "#EXT-X-MEDIA":
                self._rendition(attributes(value))
            elif tag == "#EXT-X-DEFINE":
                raise _unsupported_variables()
            elif not line.startswith("#") and told is not None:
                self._found.append((line, told))
                told = None
        return MasterPlaylist(tuple(self._variant(uri, told) for uri, told in self._found))

    def _rendition(self, told: dict[str, str]) -> None:
        if told.get("TYPE") == "AUDIO" and "URI" in told:
            self._separate.add(told.get("GROUP-ID", ""))

    def _variant(self, uri: str, told: dict[str, str]) -> Variant:
        height = _HEIGHT.fullmatch(told.get("RESOLUTION", ""))
        return Variant(
            uri=uri,
            bandwidth=_number(told.get("BANDWIDTH", "0"), "bandwidth"),
            height=int(height[1]) if height else 0,
            separate_audio=told.get("AUDIO") in self._separate,
        )


class _Media:
    """What has been read of a media playlist so far: what holds for all, for what follows, and for the next segment."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._first = 0
        self._target_seconds: float | None = None
        self._hold_back_seconds: float | None = None
        self._ended = False
        self._keys: dict[str, Key | str] = {}
        """By key format: a key, or the name of a cipher that is not supported. One that can be read is enough."""
        self._map: Map | None = None
        self._seconds: float | None = None
        self._discontinuity = self._gap = False
        self._range: str | None = None

    def read(self, lines: list[str]) -> MediaPlaylist:
        for line in lines:
            tag, _, value = line.partition(":")
            take = _TAGS.get(tag)
            if take is not None:
                take(self, value)
            elif not line.startswith("#"):
                self._add(line)
        longest = max((segment.seconds for segment in self._segments), default=TARGET_SECONDS)
        target_seconds = self._target_seconds or longest or TARGET_SECONDS
        hold_back_seconds = max(self._hold_back_seconds or 0.0, 3 * target_seconds)
        return MediaPlaylist(tuple(self._segments), target_seconds, self._ended, hold_back_seconds)

    def take_duration(self, value: str) -> None:
        self._seconds = _seconds(value.partition(",")[0])

    def take_range(self, value: str) -> None:
        self._range = value

    def take_discontinuity(self, _value: str) -> None:
        self._discontinuity = True

    def take_gap(self, _value: str) -> None:
        self._gap = True

    def take_first(self, value: str) -> None:
        if not self._segments:  # it has to come before all of them (4.3.3.2)
            self._first = _number(value, "media sequence number")

    def take_target(self, value: str) -> None:
        self._target_seconds = _seconds(value)

    def take_control(self, value: str) -> None:
        told = attributes(value)
        if "HOLD-BACK" in told:
            self._hold_back_seconds = _seconds(told["HOLD-BACK"])

    def take_end(self, _value: str) -> None:
        self._ended = True

    def take_variables(self, _value: str) -> None:
        raise _unsupported_variables()

    def take_key(self, value: str) -> None:
        """A key holds until the next one of its format, or the end of all encryption (4.3.2.4)."""
        told = attributes(value)
        method, kind = told.get("METHOD", ""), told.get("KEYFORMAT", IDENTITY)
        if method == "NONE":
            self._keys = {}
        elif method == "AES-128" and kind == IDENTITY:
            self._keys[kind] = Key(_uri(told, "key"), _iv(told.get("IV")))
        else:
            self._keys[kind] = method if kind == IDENTITY else f"{method} ({kind})"

    def _key(self) -> Key | None:
        key = self._keys.get(IDENTITY)
        if isinstance(key, Key):
            return key
        for name in self._keys.values():
            raise UpstreamContentError(
                f"the playlist's segments are encrypted with {printable(str(name))}; only AES-128 is supported"
            )
        return None

    def take_map(self, value: str) -> None:
        told = attributes(value)
        part = _part(told["BYTERANGE"], 0) if "BYTERANGE" in told else None
        self._map = Map(_uri(told, "initialisation"), part, self._key())

    def _add(self, uri: str) -> None:
        if len(self._segments) >= SEGMENTS_MAX:
            raise UpstreamContentError(f"the playlist has more than {SEGMENTS_MAX} segments")
        part = None if self._range is None else _part(self._range, self._end_of_last(uri))
        seconds = self._target_seconds if self._seconds is None else self._seconds
        self._segments.append(
            Segment(
                number=self._first + len(self._segments),
                uri=uri,
                seconds=seconds or 0.0,
                discontinuity=self._discontinuity,
                gap=self._gap,
                part=part,
                key=self._key(),
                map=self._map,
            )
        )
        self._seconds = self._range = None
        self._discontinuity = self._gap = False

    def _end_of_last(self, uri: str) -> int:
        """Where a range without an offset begins: behind the last one of the same resource (4.3.2.2)."""
        last = self._segments[-1] if self._segments else None
        return last.part.end if last is not None and last.part is not None and last.uri == uri else 0


_TAGS: Final[dict[str, Callable[[_Media, str], None]]] = {
    "#EXTINF": _Media.take_duration,
    "#EXT-X-BYTERANGE": _Media.take_range,
    "#EXT-X-DISCONTINUITY": _Media.take_discontinuity,
    "#EXT-X-GAP": _Media.take_gap,
    "#EXT-X-KEY": _Media.take_key,
    "#EXT-X-MAP": _Media.take_map,
    "#EXT-X-MEDIA-SEQUENCE": _Media.take_first,
    "#EXT-X-TARGETDURATION": _Media.take_target,
    "#EXT-X-SERVER-CONTROL": _Media.take_control,
    "#EXT-X-ENDLIST": _Media.take_end,
    "#EXT-X-DEFINE": _Media.take_variables,
}


def attributes(text: str) -> dict[str, str]:
    """Return an attribute list (4.2), quotation marks taken off; what is not one is left out."""
    found = {}
    at = 0
    for _ in range(ATTRIBUTES_MAX):
        match = _ATTRIBUTE.match(text, at)
        if match is None or at == len(text):
            break
        found[match[1]] = match[2].strip().strip('"')
        at = match.end()
    return found


def _number(text: str, what: str) -> int:
    stripped = text.strip()  # of more than ``int`` would: U+001C to U+001F, too
    if not _NUMBER.fullmatch(stripped):
        raise UpstreamContentError(f"the playlist has a {what} that cannot be read")
    return int(stripped)


def _seconds(text: str) -> float:
    stripped = text.strip()
    if not _SECONDS.fullmatch(stripped):
        raise UpstreamContentError("the playlist has a duration that cannot be read")
    return float(stripped)


def _part(text: str, end_of_last: int) -> Part:
    """``n@o``, or ``n`` for what follows the last range (4.3.2.2)."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise UpstreamContentError("the playlist has a byte range that cannot be read")
    return Part(int(match[2]) if match[2] else end_of_last, int(match[1]))


def _iv(text: str | None) -> bytes | None:
    if text is None:
        return None
    match = _IV.fullmatch(text.strip())
    if match is None:
        raise UpstreamContentError("the playlist has an initialisation vector that cannot be read")
    return int(match[1], 16).to_bytes(IV_BYTES)


def _uri(told: dict[str, str], what: str) -> str:
    if not told.get("URI"):
        raise UpstreamContentError(f"the playlist has no address for the {what}")
    return told["URI"]


def _unsupported_variables() -> UpstreamContentError:
    return UpstreamContentError("the playlist uses variables (EXT-X-DEFINE), which are not supported")
