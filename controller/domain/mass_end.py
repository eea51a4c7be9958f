"""When many ends of one source at once are held: a fault of a source can look like the end of everything it has.

Off unless a rule is handed in. The first ends of a burst are carried out as ever; from the ``ends_min``-th within a
second on they are held, under the condition ``EndHeld``. A second later the planner sees whether nearly all of the
source's streams are concerned: if not, they end; if so, they are held until the source says it again, in an end or in
a birth that lacks them, until an operator approves it, or until ``HOLD`` is over. An announcement cancels it.
"""

from dataclasses import dataclass
from datetime import timedelta

from controller.domain.model import Reason

WINDOW = timedelta(seconds=1)
HOLD = timedelta(seconds=60)
HELD, CANCELLED = "end_held", "end_cancelled"
"""Events of history: neither moves the state."""


@dataclass(frozen=True, slots=True)
class MassEnd:
    """What counts as one."""

    ends_min: int = 50
    """Ends of one source within ``WINDOW``."""
    share: float = 0.8
    """Of its streams."""


def to_word(reason: Reason) -> str:
    """Return the reason of a condition that stands for the reason of a held end."""
    return "".join(part.capitalize() for part in reason.value.split("_"))


def to_reason(word: str) -> Reason:
    return _REASONS.get(word, Reason.SOURCE_ENDED)


_REASONS = {to_word(reason): reason for reason in Reason}
