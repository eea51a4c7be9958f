"""When a stream counts as looping, how that shows, and when it is over: the condition ``Looping``.

Two witnesses: the proxy sees the same pictures again and again, and the source says (``live_last``) that its newest
media is old. Each takes back only what it said itself. Pure.
"""

from datetime import UTC, datetime, timedelta

from controller.domain.lifecycle import Draft
from controller.domain.model import ConditionStatus, ConditionType, Stream
from controller.domain.observation import Session, SessionState

LIVE_LAST = "live_last"
"""The figure of a source's stats: Unix time, in seconds, of the newest media that it has."""
LIVE_LAST_MIN = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
"""What is earlier is no Unix time."""
AHEAD_MAX = timedelta(days=1)
"""What is later than now by more is none either."""

SAME_PICTURES = "SamePictures"
LIVE_LAST_OLD = "LiveLastOld"


def hear(draft: Draft, live_last: float, now: datetime, age_max: timedelta) -> None:
    """Take what a source says about its newest media."""
    if not LIVE_LAST_MIN <= live_last <= (now + AHEAD_MAX).timestamp():
        return
    if now.timestamp() - live_last > age_max.total_seconds():
        at = datetime.fromtimestamp(int(live_last), UTC).isoformat()
        _say(draft, LIVE_LAST_OLD, f"its source's newest media is of {at}")
    else:
        _take_back(draft, LIVE_LAST_OLD, "LiveLastRecent", "")


def look(draft: Draft, session: Session) -> None:
    """Take what a proxy has seen of the pictures."""
    if session.looping_seconds is not None:
        _say(draft, SAME_PICTURES, f"the same pictures come again every {session.loop_period_seconds or 0:.0f} s")
    elif session.state is SessionState.IDLE:
        _take_back(draft, SAME_PICTURES, "Idle", "nobody watches", ConditionStatus.UNKNOWN)
    else:
        _take_back(draft, SAME_PICTURES, "FreshPictures", "")


def age(stream: Stream, now: datetime) -> timedelta | None:
    """Return for how long it has been looping; None when it does not."""
    looping = stream.condition(ConditionType.LOOPING)
    return now - looping.since if looping is not None and looping.status is ConditionStatus.TRUE else None


def _say(draft: Draft, reason: str, message: str) -> None:
    if _reason(draft) in (None, reason):
        draft.set_condition(ConditionType.LOOPING, ConditionStatus.TRUE, reason, message)


def _take_back(
    draft: Draft, reason: str, why: str, message: str, status: ConditionStatus = ConditionStatus.FALSE
) -> None:
    if _reason(draft) == reason:
        draft.set_condition(ConditionType.LOOPING, status, why, message)


def _reason(draft: Draft) -> str | None:
    """Return why it is said to loop now."""
    looping = draft.run.stream.condition(ConditionType.LOOPING)
    return looping.reason if looping is not None and looping.status is ConditionStatus.TRUE else None
