"""Which quality of a master playlist is pulled: the richest, or what the upstream's URL asks for behind ``#``.

``#variant=lowest``, ``#variant=720p`` (the richest of at most so many lines) and ``#variant=3000000`` (the richest
of at most so many bits per second); when all are above, the lowest. A fragment is never sent to a server. Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import UpstreamContentError, UpstreamForbiddenError
from proxy.upstream.hls.playlist import Variant

_WISH: Final = re.compile(r"variant=(?:(highest)|(lowest)|(\d{1,5})p|(\d{1,12}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a variant may have at most; None: anything."""

    height_max: int | None = None
    bandwidth_max: int | None = None

    def allows(self, variant: Variant) -> bool:
        return (self.height_max is None or variant.height <= self.height_max) and (
            self.bandwidth_max is None or variant.bandwidth <= self.bandwidth_max
        )


def wish(fragment: str) -> Wish:
    """Read what a URL's fragment asks for; raise UpstreamForbiddenError when it asks for something else."""
    if not fragment.startswith("variant="):
        return Wish()
    match = _WISH.fullmatch(fragment)
    if match is None:
        raise UpstreamForbiddenError("'#variant=' takes highest, lowest, lines (720p) or bits per second (3000000)")
    if match[2]:
        return Wish(bandwidth_max=0)
    return Wish(
        height_max=int(match[3]) if match[3] else None,
        bandwidth_max=int(match[4]) if match[4] else None,
    )


def choose(variants: Sequence[Variant], wished: Wish) -> Variant:
    """Return the variant to pull; raise UpstreamContentError when none can be."""
    whole = [variant for variant in variants if not variant.separate_audio]
    if not whole:
        raise UpstreamContentError(
            "the playlist keeps audio in separate renditions, which are not supported"
            if variants
            else "the playlist lists variants without an address"
        )
    allowed = [variant for variant in whole if wished.allows(variant)]
    if not allowed:
        return min(whole, key=_richness)
    return max(allowed, key=_richness)


def _richness(variant: Variant) -> tuple[int, int]:
    return variant.bandwidth, variant.height
