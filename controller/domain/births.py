"""Births: when two are one, and how many have to lack a stream before it has ended."""

from datetime import datetime, timedelta

from controller.domain.events import BirthReported
from controller.domain.model import Source

UNTIL_END = 2
"""A stream that this many births in a row do not list has ended (reason ``source_lost``)."""

SPACING = timedelta(seconds=1)
"""Births without a ``seq`` that come closer than this are taken for one redelivered birth when misses are counted."""


def is_same(known: Source, birth: BirthReported) -> bool:
    return birth.seq is not None and (known.birth_boot_id, known.birth_seq) == (birth.boot_id, birth.seq)


def is_close(known: Source, birth: BirthReported, now: datetime) -> bool:
    same_boot = known.birth_boot_id == birth.boot_id
    return same_boot and known.birth_at is not None and now - known.birth_at < SPACING
