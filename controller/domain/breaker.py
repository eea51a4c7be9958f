"""The breaker: opens when much would be stopped for want of rows, or when the readings are not to be believed.

While it is open what is missing is started as ever, what is proven to be over is stopped slowly, and nothing is stopped
for want of a row. It closes after two quiet plans in a row, or by the approval of exactly what it holds: a plan's
digest, which counts once. Only full readings are judged.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.domain.budgets import Limits, Spent

QUIET_PLANS = 2
"""So many full plans in a row without a cause close it."""

ROWS_MIN = 10
"""Fewer rows may come and go as they like."""

APPROVAL_LASTS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is kept of it in the database."""

    opened_at: datetime | None = None
    cause: str = ""
    spent: Spent = ()
    """Stops without evidence, within the window."""

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None


@dataclass(frozen=True, slots=True)
class Glance:
    """What a full reading looked like, to be compared with the next."""

    at: datetime
    runs: int
    """Not CLOSED."""
    sessions: int
    """On proxies that answered."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the world is in this reading, and how much of it a plan would stop without evidence."""

    glance: Glance
    closed_since: int
    """Runs that were CLOSED since the glance before: they are not lost."""
    wanted: int
    """Placements of active runs that were seen to run."""
    proxies: int
    proxies_fresh: int
    sessions: Mapping[str, int]
    """By proxy that answered."""
    due: Mapping[str, int]
    """Sessions that would be stopped without evidence now, by proxy."""


def find_cause(scale: Scale, before: Glance | None, limits: Limits) -> str:
    """Return why the breaker has to be open; empty when nothing speaks for it."""
    return (before is not None and _doubt(scale, before, limits)) or _count(scale, limits)


def _doubt(scale: Scale, before: Glance, limits: Limits) -> str:
    """Why the readings are not to be believed."""
    kept = scale.glance.runs + scale.closed_since
    if before.runs >= ROWS_MIN and kept * 2 < before.runs:
        return f"the database had {before.runs} runs and has {scale.glance.runs}, {scale.closed_since} were closed"
    has_many = scale.proxies > 1 and scale.proxies_fresh == scale.proxies
    lost_all = scale.glance.sessions == 0 and before.sessions > limits.unevidenced_min
    if has_many and lost_all and scale.wanted > limits.unevidenced_min:
        return f"all {scale.proxies} proxies are empty at once, and had {before.sessions} sessions"
    return ""


def _count(scale: Scale, limits: Limits) -> str:
    """Why what would be stopped is too much."""
    due = sum(scale.due.values())
    allowance = limits.allowance(scale.glance.sessions)
    if due > allowance:
        return f"{due} of {scale.glance.sessions} sessions would be stopped without evidence, {allowance} are allowed"
    for proxy_id, count in sorted(scale.due.items()):
        if limits.unevidenced_min < count == scale.sessions.get(proxy_id, 0):
            return f"all {count} sessions of proxy {proxy_id} would be stopped without evidence"
    return ""


def judge(breaker: Breaker, cause: str, quiet: int, now: datetime) -> tuple[Breaker, int]:
    """Return the breaker after a full plan, and how many quiet plans in a row it has seen.

    ``cause`` is this plan's, ``quiet`` counts those before.
    """
    if cause:
        opened = breaker if breaker.is_open else replace(breaker, opened_at=now, cause=cause)
        return opened, 0
    if not breaker.is_open or quiet + 1 >= QUIET_PLANS:
        return closed(breaker), 0
    return breaker, quiet + 1


def closed(breaker: Breaker) -> Breaker:
    return replace(breaker, opened_at=None, cause="")


def digest(breaker: Breaker, targets: Iterable[tuple[str, ...]]) -> str:
    """Return what names these stops under this opening of the breaker; empty when there is nothing to approve."""
    lines = sorted("/".join(target) for target in targets)
    if not lines and not breaker.is_open:
        return ""
    opened = breaker.opened_at.isoformat() if breaker.opened_at is not None else ""
    return hashlib.blake2b("\n".join([opened, *lines]).encode(), digest_size=6).hexdigest()
