"""Sources that are connected and say nothing: from how many requests without an answer that is told, and to whom.

It is only told: a source that does not answer may run what it announced. One that has never answered a request (a
script that announces once) cannot fall silent.
"""

from collections import Counter
from dataclasses import replace
from typing import Final

from controller.domain.events import BirthReported, Incoming, MessageRefused, SilenceReported, StopRequested
from controller.domain.lifecycle import Draft
from controller.domain.model import ConditionStatus, ConditionType, Source, SourceId

UNANSWERED_MIN: Final = 3
"""So many requests for a birth in a row, without any message of the source, are silence."""

REASON: Final = "Silent"


class Requests:
    """Requests for births that were published, and not answered on the connection that still holds."""

    def __init__(self) -> None:
        self._open: Counter[SourceId] = Counter()

    def begin(self) -> None:
        """A new connection: what was asked on earlier ones may have been answered meanwhile."""
        self._open.clear()

    def count(self, source_id: SourceId) -> None:
        """Take down that the broker has taken a request."""
        self._open[source_id] += 1

    def hear(self, event: Incoming) -> Incoming:
        """Take down that a source has said something; return the event, a birth with whether it was asked for."""
        if isinstance(event, StopRequested | MessageRefused):
            return event
        asked = self._open.pop(event.source_id, 0)
        return replace(event, is_answer=True) if asked and isinstance(event, BirthReported) else event

    def unanswered(self, source_id: SourceId) -> int:
        return self._open.get(source_id, 0)


def is_due(source: Source | None, unanswered: int) -> bool:
    """Whether a source has to be reported as silent."""
    if source is None or source.silent_since is not None:
        return False
    return source.is_online and source.answers_births and unanswered >= UNANSWERED_MIN


def holds(source: Source, report: SilenceReported) -> bool:
    """Whether a report still holds: the source has not been heard since it was made."""
    return source.birth_at == report.birth_at and is_due(source, report.unanswered)


def fall(draft: Draft, report: SilenceReported) -> None:
    """A stream's source has fallen silent."""
    if not draft.run.stream.is_source_lost:
        said = f"its source is connected, and left {report.unanswered} requests for a birth in a row unanswered"
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.UNKNOWN, REASON, said)


def lift(draft: Draft) -> None:
    """A stream's source has said something again."""
    condition = draft.run.stream.condition(ConditionType.SOURCE_ONLINE)
    if condition is not None and condition.reason == REASON:
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "HeardAgain")
