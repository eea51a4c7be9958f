"""Births: when two are one, and how many have to lack a stream before it has ended.

Whether one proves anything at all, ``processes`` knows.
"""

from datetime import datetime, timedelta

from controller.domain.events import BirthReported
from controller.domain.model import Source

UNTIL_END = 2
"""A stream that so many births in a row of one process of its source do not list has ended (reason ``source_lost``).

Two processes never lack it together: what one that has died said may come late, between the births of the one that
lives, and all of it is older than what that one has started since.
"""

SPACING = timedelta(seconds=1)
"""Births without a ``seq`` that come closer than this are taken for one redelivered birth when misses are counted."""


def is_next(known: Source | None, birth: BirthReported) -> bool:
    """Whether the birth before this one was of the same process."""
    return known is not None and known.birth_boot_id == birth.boot_id


def is_close(known: Source, birth: BirthReported, now: datetime) -> bool:
    same_boot = known.birth_boot_id == birth.boot_id
    return same_boot and known.birth_at is not None and now - known.birth_at < SPACING
