"""Births: when two are one, and how many have to lack a stream before it has ended.

Whether one proves anything at all, ``processes`` knows.
"""

from datetime import datetime, timedelta

from controller.domain.events import BirthReported
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import ConditionStatus, ConditionType, Reason, Source

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


def miss(draft: Draft, *, is_next: bool) -> bool:
    """A birth lacks a stream of its source: stall it, or end it; return whether another birth has to tell.

    ``is_next`` says that the birth before was of the same process.
    """
    missed = draft.run.stream.births_missed + 1 if is_next else 1
    draft.set_births_missed(missed)
    draft.set_condition(
        ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "NotInBirth", "its source's birth does not list it"
    )
    if draft.run.stream.condition(ConditionType.END_HELD) is not None:
        draft.carry_out_end("its source's birth does not list it")
    elif missed >= UNTIL_END:
        draft.send(Event.END, reason=Reason.SOURCE_LOST, detail=f"{missed} births in a row did not list it")
    else:
        draft.send(Event.SOURCE_LOST, detail="the source's birth does not list it")
        return True
    return False
