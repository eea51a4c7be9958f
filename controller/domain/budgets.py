"""How much may be stopped in how much time: token buckets as values, and the purse that one plan pays from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

WINDOW = timedelta(minutes=10)
"""Within which stops without evidence are counted."""

BURST_SECONDS = 4.0
"""A bucket holds what comes in within this time: a few stops need not wait, many do."""

CYCLE_SECONDS = 10.0
"""As above, for stops without evidence, which are decided in full looks only."""

BRAKE = 0.1
"""While the breaker is open, stops with evidence go on at this part of their rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What operators may set."""

    evidenced_per_second: float = 5.0
    """Stops with evidence, at each proxy."""
    unevidenced_per_second: float = 1.0
    """Stops without evidence, over all."""
    unevidenced_share: float = 0.1
    """Of all sessions, this part may be stopped without evidence within the window,"""
    unevidenced_min: int = 3
    """or so many, whichever is more."""

    def allowance(self, sessions: int) -> int:
        """How many of so many sessions may be stopped without evidence within the window."""
        return max(self.unevidenced_min, int(sessions * self.unevidenced_share))


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens at a time."""

    tokens: float
    at: datetime

    def filled(self, per_second: float, capacity: float, now: datetime) -> "Bucket":
        """Return it with what came in since."""
        came = max(0.0, (now - self.at).total_seconds()) * per_second
        return Bucket(min(capacity, self.tokens + came), now)


@dataclass(frozen=True, slots=True)
class Budgets:
    """What is left of every allowance: handed from plan to plan. A bucket that is not there is full."""

    evidenced: Mapping[str, Bucket] = field(default_factory=lambda: MappingProxyType({}))
    """By proxy."""
    unevidenced: Bucket | None = None


Spent = tuple[tuple[datetime, int], ...]
"""When how many sessions were stopped without evidence, oldest first."""


def within_window(spent: Spent, now: datetime) -> Spent:
    """Return what still counts."""
    return tuple((at, count) for at, count in spent if now - at < WINDOW)


class Purse:
    """What one plan may pay. Lives within one plan; ``left`` is what the next one begins with."""

    def __init__(self, budgets: Budgets, limits: Limits, now: datetime, *, is_braked: bool) -> None:
        self._limits = limits
        self._now = now
        self._evidenced_rate = limits.evidenced_per_second * (BRAKE if is_braked else 1.0)
        self._evidenced = dict(budgets.evidenced)
        capacity = max(1.0, limits.unevidenced_per_second * CYCLE_SECONDS)
        full = Bucket(capacity, now)
        self._unevidenced = (budgets.unevidenced or full).filled(limits.unevidenced_per_second, capacity, now)

    def pay_evidenced(self, proxy_id: str) -> bool:
        """Pay for one stop with evidence at a proxy, if there is enough."""
        capacity = max(1.0, self._evidenced_rate * BURST_SECONDS)
        bucket = self._evidenced.get(proxy_id) or Bucket(capacity, self._now)
        bucket = bucket.filled(self._evidenced_rate, capacity, self._now)
        can_pay = bucket.tokens >= 1.0
        self._evidenced[proxy_id] = Bucket(bucket.tokens - can_pay, self._now)
        return can_pay

    def pay_unevidenced(self) -> bool:
        """Pay for one stop without evidence, if there is enough; the window is counted elsewhere."""
        can_pay = self._unevidenced.tokens >= 1.0
        self._unevidenced = Bucket(self._unevidenced.tokens - can_pay, self._now)
        return can_pay

    @property
    def left(self) -> Budgets:
        return Budgets(MappingProxyType(self._evidenced), self._unevidenced)
