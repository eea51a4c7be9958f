"""How far behind live an MPEG-TS viewer asks to begin: ``?burst=``, and what of it is granted.

A player that begins behind live gets that much at once, as fast as it takes it, and then has it as its own buffer.
What is asked for is cut to what the ring holds and to a share of the lag at which the slow-viewer rule looks: a burst
must not be what makes a viewer slow.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from proxy.core.feed import Feed
from proxy.core.mpegts import RandomAccess
from proxy.serve.answers import RefusedError

QUERY: Final = "burst"
LAG_SHARE: Final = 2
"""A burst has at most this part of the lag that a viewer may have."""
_FORM: Final = re.compile(r"(?P<seconds>\d{1,4}(?:\.\d{1,3})?)s?|(?P<bytes>\d{1,12})b", re.ASCII)


@dataclass(frozen=True, slots=True)
class Burst:
    """Begin at least so far behind live, in seconds or in bytes."""

    seconds: float = 0.0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class BurstLimits:
    """What is granted at most, whatever is asked for."""

    seconds_max: float = 30.0
    bytes_max: int = 4 * 1024 * 1024


def parse(text: str) -> Burst:
    """Read ``8``, ``8s``, ``2.5s`` or ``1000000b``; raise RefusedError (400) for anything else."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise RefusedError(400, f"{QUERY} is seconds (8, 2.5s) or bytes (1000000b) behind live, not {text[:32]!r}")
    if match["bytes"] is not None:
        return Burst(bytes=int(match["bytes"]))
    return Burst(seconds=float(match["seconds"]))


def find_start(feed: Feed, burst: Burst | None, limits: BurstLimits, now: float) -> RandomAccess | None:
    """Return where a viewer that comes now begins; None while the feed has no place to begin."""
    if burst is None:
        return feed.join()
    return feed.join_behind(
        at=now - min(burst.seconds, limits.seconds_max) if burst.seconds else math.inf,
        position=feed.head - burst.bytes,
        bytes_max=limits.bytes_max,
    )
