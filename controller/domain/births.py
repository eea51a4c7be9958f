"""Births: when two are one, and how many have to lack a stream before it has ended."""

from datetime import datetime, timedelta

from controller.domain.events import BirthReported
from controller.domain.model import Source

UNTIL_END = 2
"""A stream that so many births in a row of one process of its source do not list has ended (reason ``source_lost``).

Two processes never lack it together: what the one that has died said may be delivered again between the births of the
one that lives, and all of it is older than what that one has started since.
"""

SPACING = timedelta(seconds=1)
"""Births without a ``seq`` that come closer than this are taken for one redelivered birth when misses are counted."""


def is_counted(known: Source, birth: BirthReported) -> bool:
    """Whether this birth, or a later one of the same boot, was counted already.

    A broker that delivers twice delivers a whole row of births again: an older one lacks what has started since.
    """
    if birth.seq is None or known.birth_seq is None or known.birth_boot_id != birth.boot_id:
        return False
    return birth.seq <= known.birth_seq


def is_next(known: Source | None, birth: BirthReported) -> bool:
    """Whether the birth before this one was of the same process."""
    return known is not None and known.birth_boot_id == birth.boot_id


def is_close(known: Source, birth: BirthReported, now: datetime) -> bool:
    same_boot = known.birth_boot_id == birth.boot_id
    return same_boot and known.birth_at is not None and now - known.birth_at < SPACING
