"""What the control loop counts: plain numbers, shown at /metrics by ``figures``. Names follow controller-runtime."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from controller.domain.plan import Action, DriftKind, Verb
from controller.reconcile.histogram import Histogram
from controller.store.drift import DriftNews

LONG_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

ORPHANS: Final = frozenset({
    DriftKind.ORPHAN_ENDED,
    DriftKind.ORPHAN_SUPERSEDED,
    DriftKind.ORPHAN_GENERATION,
    DriftKind.ORPHAN_UNKNOWN,
    DriftKind.DUPLICATE_SESSION,
    DriftKind.STUCK_STOPPING,
    DriftKind.PLACEMENT_NOT_STOPPING,
})  # fmt: skip
"""Kinds of which something runs that should not."""


@dataclass(slots=True)
class Tally:
    """Counts since the process started."""

    results: Counter[str] = field(default_factory=Counter)
    """Cycles by how they ended: ``success``, ``requeue`` (something changed meanwhile), ``requeue_after`` (something
    is held for a moment), ``error``."""
    errors: int = 0
    terminal_errors: int = 0
    """Of the errors: those that another try will hardly cure."""
    seconds: Histogram = field(default_factory=Histogram)
    detected: Counter[DriftKind] = field(default_factory=Counter)
    repaired: Counter[DriftKind] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    """Actions held back in a cycle, by gate."""
    convergence: Histogram = field(default_factory=lambda: Histogram(LONG_SECONDS))
    """From a drift first seen to seen repaired."""
    orphan_seconds: float = 0.0
    """How long all sessions together ran that should not have, as far as they were seen to end."""

    def note_drifts(self, news: DriftNews, actions: Iterable[Action], now: datetime) -> None:
        """Count what a cycle found, held and saw repaired."""
        self.detected.update(found.kind for found in news.opened)
        self.held.update(a.gate_kind.value for a in actions if a.verb is Verb.HOLD and a.gate_kind is not None)
        for known in news.repaired:
            lasted = (now - known.first_seen).total_seconds()
            self.repaired[known.drift.kind] += 1
            self.convergence.note(lasted)
            if known.drift.kind in ORPHANS:
                self.orphan_seconds += lasted
