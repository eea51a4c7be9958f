"""What a reader hands over: the words between readers and the pull around them. Pure data.

A reader is an async iterator of ``Item``. It ends (without an error) when the upstream ended cleanly; every other end
is an ``UpstreamError``. Closing the iterator closes the connection.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The next bytes belong to another timeline: clocks and counters may jump."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """From now on, silences of up to ``seconds`` are this upstream's normal rhythm (HLS comes in bursts)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tap:
    """From now on bytes are there to be drawn, without anybody being woken for them; once a beat is often enough."""

    draw: Callable[[float], bytes | None]
    """Given the loop's time, returns what has come: nothing, or None when no more will; the reader then says why."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Datagrams since the last such item: how many never came, and how many came late but could be put in order."""

    lost: int
    reordered: int


@dataclass(frozen=True, slots=True)
class FragmentBegins:
    """The next bytes are one segment of fragmented MP4, to be read with this initialisation; all others are MPEG-TS."""

    initialisation: bytes
    target_seconds: float = 0.0
    """None of the segments is to be longer; 0 when that is not known."""


@dataclass(frozen=True, slots=True)
class FragmentEnds:
    """All bytes of the segment have come; it plays for so long."""

    seconds: float


Remark = Discontinuity | Losses | FragmentBegins | FragmentEnds
"""What concerns the feed, beside its bytes."""
Item = bytes | Tap | Quiet | Remark
Reader = AsyncGenerator[Item, None]


def name_of(head: bytes) -> str:
    """Say in words what the first bytes of something that is not MPEG-TS look like."""
    start = head.lstrip()[:16].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head")):
        return "an HTML page"
    if start.startswith((b"{", b"[")):
        return "JSON"
    if start.startswith(b"<"):
        return "XML"
    if head[4:8] == b"ftyp":
        return "MP4"
    if head.startswith(b"FLV"):
        return "FLV"
    if head.startswith((b"ID3", b"\xff\xf1", b"\xff\xf9")):
        return "bare audio"
    return "something unknown"


def printable(text: str) -> str:
    """Return the upstream's own words, cut and cleaned for a log line."""
    return "".join(char for char in text if char.isprintable())[:60]
