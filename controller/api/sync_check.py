"""Does what should run, run? The comparison behind ``GET /debug/sync-check``, as a pure function.

Three looks are taken, in this order: the database (``before``), the proxies (``observed``), the database again
(``after``). Without ``live`` the newest lists are older than both readings, and one reading serves as both. Streams
start and stop all the while, so that no two looks fit together exactly. What is reported must be wrong all the same,
never merely on its way:

*An orphan* is a session that plays (a finished one does not) and whose fence (stream, epoch, generation) on that proxy
no reading asks for. Take every way in which a healthy session can be in the list:

- Its placement was committed before its start was sent, so ``after``, being later than the list, knows it. It may be
  ``stopping`` or ``gone`` there already, and unknown to ``before``: hence ``after`` is read with the gone placements of
  every stream in the list. A session without any row is therefore wrong at once.
- It is wanted in either reading: it starts, or its end was decided after the list.
- It is ``stopping`` or ``gone``: it was still on its way out. That takes a moment, so it counts only if it had been
  unwanted for longer than ``stop_grace`` *when the list was taken*; a list that is old by now proves nothing worse.
  This covers a replacement in place: the old generation's placement is ``stopping``, the proxy may still run it or
  already run the new generation, whose row was committed in the same transaction.
- With ``live``, a placement that ``before`` knew to be gone had been seen gone before the list was asked for, and its
  tombstone keeps it from coming back: that session is wrong at once.
- Its placement was made for an older spec: what that one asked for is not known any more, so all its outputs pass.

*A missing session* is a placement that both readings want (a generation never becomes wanted again, so that it was
wanted all the time since it was requested) and that the list of its proxy lacks. Healthy ways to be absent:

- It is starting: it counts only if it was older than ``start_grace`` *when the list was taken*.
- The list is older than the proxy's last reply about the placement (``sequence``): it proves nothing.
- It has finished by itself: it is listed as such until the control loop has taken note; finished is not missing.
- It is being replaced: the old placement is not wanted in ``after``, the new one not in ``before``.

A proxy that cannot be reached proves nothing about sessions, so none of its remembered ones is counted, running or
orphaned. Its placements older than ``start_grace`` are missing: nobody can say that they play. The stamps of placements
and lists come from the clocks of database and controller, which have to agree within the graces.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from typing_extensions import TypedDict

from controller.domain.model import Key, Output, PlacementState, StreamId
from controller.domain.observation import Observed, ProxyView, Session, SessionState
from controller.store.audit import Fence, Reading, Wish


class StateCount(TypedDict):
    """What should be there: the keys of all runs that are not CLOSED."""

    stream_count: int
    stream_keys: list[str]


class SessionCount(TypedDict):
    """What is there: the sessions with one output, on all proxies that can be reached."""

    session_count: int
    session_keys: list[str]


class Discrepancies(TypedDict):
    """The differences, by key."""

    orphaned_ts_sessions: list[str]
    orphaned_hls_sessions: list[str]
    missing_ts_sessions: list[str]
    missing_hls_sessions: list[str]
    has_issues: bool


class SyncCheck(TypedDict):
    """The database against the proxies."""

    state: StateCount
    ts_proxy: SessionCount
    hls_proxy: SessionCount
    discrepancies: Discrepancies


@dataclass(frozen=True, slots=True)
class Graces:
    start: timedelta
    stop: timedelta


@dataclass(slots=True)
class _Findings:
    """Keys of one output."""

    running: list[Key] = field(default_factory=list)
    orphaned: set[Key] = field(default_factory=set)
    missing: set[Key] = field(default_factory=set)

    def count(self) -> SessionCount:
        return {"session_count": len(self.running), "session_keys": sorted(set(self.running))}


def compare(
    before: Reading, observed: Observed, after: Reading, *, graces: Graces, now: datetime, is_live: bool
) -> SyncCheck:
    """Compare what is wished with what runs.

    Args:
        before: with ``is_live``: the database before ``observed`` was taken, with the gone placements of streams seen
            so far; else the same as ``after``.
        observed: the proxies, as they were listed last, or (``is_live``) listed after ``before`` was read.
        after: the database after that, with the gone placements of every stream in ``observed``.
        graces: how long a start and a stop may take.
        now: the time, for placements of proxies that cannot be asked.
        is_live: whether every fresh list was asked for after ``before`` was read.
    """
    found = {output: _Findings() for output in Output}
    judge = _Judge(before, observed, after, graces, now=now, is_live=is_live)
    for view in observed.proxies:
        for session in view.sessions if view.is_fresh else ():
            if session.state is SessionState.FINISHED:
                continue
            is_asked_for = judge.is_asked_for(view, session)
            for output in session.outputs:
                found[output].running.append(session.key)
                if not is_asked_for and judge.is_orphaned(view, session, output):
                    found[output].orphaned.add(session.key)
    for wish in judge.wanted_throughout():
        for output in judge.missing_outputs(wish):
            found[output].missing.add(wish.key)
    return _report(after.open_keys, found[Output.TS], found[Output.HLS])


class _Judge:
    def __init__(
        self, before: Reading, observed: Observed, after: Reading, graces: Graces, *, now: datetime, is_live: bool
    ) -> None:
        self._before = before
        self._after = after
        self._graces = graces
        self._now = now
        self._is_live = is_live
        self._views = {view.proxy_id: view for view in observed.proxies if view.is_fresh}
        self._sessions = {
            (view.proxy_id, _fence(session)): session for view in self._views.values() for session in view.sessions
        }

    def is_asked_for(self, view: ProxyView, session: Session) -> bool:
        """Say whether all its outputs are wished, as nearly always: no output is an orphan then."""
        wish = self._wish(self._after, view, session)
        return (
            wish is not None and _is_wanted(wish) and (not wish.is_current or wish.outputs.issuperset(session.outputs))
        )

    def is_orphaned(self, view: ProxyView, session: Session, output: Output) -> bool:
        earlier = self._wish(self._before, view, session)
        later = self._wish(self._after, view, session)
        known = [wish for wish in (earlier, later) if wish is not None]
        if any(_asks_for(wish, output) for wish in known):
            return False
        if not known or known[-1].state.is_wanted:
            # Nobody ever asked for it, or only for another output, or on behalf of a run that is over.
            return True
        if self._is_live and earlier is not None and earlier.state is PlacementState.GONE:
            return True
        unwanted_since = known[-1].stopping_at or known[-1].gone_at
        assert unwanted_since is not None
        return self._listed_at(view) - unwanted_since > self._graces.stop

    def wanted_throughout(self) -> Iterable[Wish]:
        """Yield the placements that both readings want, as the later one says."""
        for fence, wish in self._after.wishes.items():
            earlier = self._before.wishes.get(fence)
            if earlier is not None and _is_wanted(earlier) and _is_wanted(wish):
                yield wish

    def missing_outputs(self, wish: Wish) -> frozenset[Output]:
        view = self._views.get(wish.proxy_id)
        if view is None:
            return wish.outputs if self._now - wish.requested_at > self._graces.start else frozenset()
        session = self._sessions.get((view.proxy_id, (wish.stream_id, wish.epoch, wish.generation)))
        if session is not None and not wish.is_current:
            return frozenset()
        is_settled = self._listed_at(view) - wish.requested_at > self._graces.start
        shown = frozenset(session.outputs) if session is not None else frozenset()
        return wish.outputs - shown if is_settled and _is_evidence(view, wish) else frozenset()

    def _wish(self, reading: Reading, view: ProxyView, session: Session) -> Wish | None:
        wish = reading.wishes.get(_fence(session))
        return wish if wish is not None and wish.proxy_id == view.proxy_id else None

    def _listed_at(self, view: ProxyView) -> datetime:
        return view.observed_at or self._now


def _fence(session: Session) -> Fence:
    return StreamId(session.stream_id), session.epoch, session.generation


def _is_wanted(wish: Wish) -> bool:
    return wish.state.is_wanted and wish.run_is_active


def _asks_for(wish: Wish, output: Output) -> bool:
    return _is_wanted(wish) and (output in wish.outputs or not wish.is_current)


def _is_evidence(view: ProxyView, wish: Wish) -> bool:
    """Whether the list is no older than the proxy's last word about the placement."""
    return view.boot_id != wish.boot_id or view.sequence >= (wish.reply_sequence or 0)


def _report(open_keys: Iterable[Key], ts: _Findings, hls: _Findings) -> SyncCheck:
    keys = sorted(set(open_keys))
    return {
        "state": {"stream_count": len(keys), "stream_keys": [*keys]},
        "ts_proxy": ts.count(),
        "hls_proxy": hls.count(),
        "discrepancies": {
            "orphaned_ts_sessions": sorted(ts.orphaned),
            "orphaned_hls_sessions": sorted(hls.orphaned),
            "missing_ts_sessions": sorted(ts.missing),
            "missing_hls_sessions": sorted(hls.missing),
            "has_issues": bool(ts.orphaned or hls.orphaned or ts.missing or hls.missing),
        },
    }
