"""Ends held because their source ended nearly all of its streams at once: which of them are carried out now."""

from collections import Counter
from datetime import timedelta

from controller.domain.breaker import Breaker, digest
from controller.domain.mass_end import HOLD, WINDOW, MassEnd
from controller.domain.model import ConditionType, Stream
from controller.domain.observation import Desired
from controller.domain.plan.taxonomy import GateKind
from controller.domain.plan.vocabulary import Gate

WAITS_FOR_SECOND_WORD = Gate(
    GateKind.END_HELD, "its source says so again, in an end or a birth; an operator approves it; or a minute has passed"
)


class HeldEnds:
    """All held ends of one reading, source by source."""

    def __init__(self, desired: Desired, rule: MassEnd | None) -> None:
        active = [run.stream for run in desired.runs if run.stream.state.is_active] if rule is not None else []
        held = [stream for stream in active if stream.condition(ConditionType.END_HELD) is not None]
        self._share = rule.share if rule is not None else 1.0
        self._is_full = desired.keys is None
        self._held = Counter(stream.source_id for stream in held)
        self._active = Counter(stream.source_id for stream in active) if held else Counter()
        self.digest = (
            digest(Breaker(), (("end", stream.id, str(stream.seq)) for stream in held)) if self._is_full else ""
        )
        """Names all of them for an approval; empty when nothing is held."""
        self.is_approved = bool(self.digest) and self.digest in desired.approvals

    def __bool__(self) -> bool:
        return bool(self._held)

    def release(self, stream: Stream, held_for: timedelta) -> str:
        """Return why a held end is carried out now; empty while it is held."""
        if self.is_approved:
            return "an operator approved it"
        if held_for >= HOLD:
            return f"held for {HOLD.total_seconds():.0f} s, and nobody said otherwise"
        # The burst is over, and its extent can be seen: in a look at everything only.
        is_mass = self._held[stream.source_id] >= self._share * self._active[stream.source_id]
        if self._is_full and held_for >= WINDOW and not is_mass:
            return f"{self._held[stream.source_id]} of its source's streams ended at once, and more go on"
        return ""
