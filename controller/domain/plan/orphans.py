"""Planning for sessions that no placement asks for."""

import functools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta

from controller.domain.model import Command, CommandKind, Key, Run, StreamId
from controller.domain.observation import ProxyView, Session
from controller.domain.plan.scene import Scene
from controller.domain.plan.taxonomy import DriftClass, DriftKind, GateKind
from controller.domain.plan.unevidenced import Due, Verdict
from controller.domain.plan.vocabulary import REPORTED, Action, Drift, Gate, Verb


class OrphanPlanner:
    """Classes every session without a placement by what the database can prove about it."""

    def __init__(
        self,
        scene: Scene,
        drafts: Mapping[StreamId, Run],
        settled: AbstractSet[Key] = frozenset(),
        heard: timedelta = timedelta.max,
    ) -> None:
        self._scene = scene
        self._heard = heard
        self._desired = scene.desired
        self._policy = scene.policy
        self._drafts = drafts
        """Runs as this plan leaves them; the others stay as they are."""
        self._settled = settled
        """Keys of which the only session is known to be wished."""
        self.actions: list[Action] = []
        self.stops: list[Command] = []
        self.due: list[Due] = []
        """What would be stopped without evidence: decided upon together, by ``unevidenced``."""
        self.barred: list[Due] = []
        """What would be due as well, if an operator or the startup did not hold it."""
        self.asks_for_births = False
        """Whether something was seen for the first time that a source may claim."""

    def plan(self) -> None:
        for view, session in self._scene.fleet.sessions(besides=self._settled):
            if not self._is_placed(view, session):
                self._look_at(view, session)

    def _is_placed(self, view: ProxyView, session: Session) -> bool:
        """Whether a placement asks for it, or did before this plan."""
        before, after = self._before.get(session.stream_id), self._runs.get(session.stream_id)
        placements = (*(before.placements if before else ()), *(after.placements if after else ()))
        return any(p.generation == session.generation and p.proxy_id == view.proxy_id for p in placements)

    @functools.cached_property
    def _before(self) -> Mapping[StreamId, Run]:
        return {run.stream.id: run for run in self._desired.runs}

    @functools.cached_property
    def _runs(self) -> Mapping[StreamId, Run]:
        return {**self._before, **self._drafts}

    @functools.cached_property
    def _newest(self) -> Mapping[Key, Run]:
        newest: dict[Key, Run] = {}
        for run in self._runs.values():
            known = newest.get(run.stream.key)
            if known is None or known.stream.epoch < run.stream.epoch:
                newest[run.stream.key] = run
        return newest

    def _look_at(self, view: ProxyView, session: Session) -> None:
        ours = self._policy.installation
        if ours and session.installation not in (ours, ""):
            evidence = f"it belongs to installation {session.installation}, and this is {ours}"
            self._hold(_drift(view, session, DriftKind.FOREIGN_SESSION, evidence), REPORTED)
            return
        run = self._runs.get(session.stream_id)
        if run is not None and run.stream.state.is_active:
            self._look_at_generation(view, session, run)
        elif run is not None or session.stream_id in self._desired.closed:
            self._stop(view, session, DriftKind.ORPHAN_ENDED, "its stream has ended")
        else:
            self._look_at_stranger(view, session)

    def _look_at_generation(self, view: ProxyView, session: Session, run: Run) -> None:
        """Its stream runs, at another generation."""
        evidence = f"generation {session.generation}, the database is at {run.stream.generation}"
        kind = DriftKind.ORPHAN_GENERATION
        if run.wanted and all(placement.proxy_id != view.proxy_id for placement in run.wanted):
            kind, evidence = DriftKind.DUPLICATE_SESSION, f"{evidence} on proxy {run.wanted[-1].proxy_id}"
        if self._scene.runs_wanted(run):
            self._stop(view, session, kind, f"{evidence}; its replacement was seen")
        else:
            self._hold(_drift(view, session, kind, evidence), REPLACEMENT)

    def _look_at_stranger(self, view: ProxyView, session: Session) -> None:
        """The database has no such stream. Perhaps it knows the key."""
        run = self._newest.get(session.key)
        if run is None:
            self._look_at_unknown(view, session, "the database knows neither stream nor key")
            return
        epoch = run.stream.epoch
        if epoch > session.epoch:
            self._stop(view, session, DriftKind.ORPHAN_SUPERSEDED, f"epoch {session.epoch}, the key is at {epoch}")
        elif epoch < session.epoch:
            evidence = f"epoch {session.epoch}, the database is at {epoch}"
            self._hold(_drift(view, session, DriftKind.NEWER_THAN_DATABASE, evidence), REPORTED)
        elif run.stream.state.is_active:
            evidence = f"the same key and epoch as stream {run.stream.id}"
            if self._scene.runs_wanted(run):
                self._look_at_unknown(view, session, f"{evidence}, which runs elsewhere")
            else:
                self._hold(_drift(view, session, DriftKind.ORPHAN_UNKNOWN, evidence), TAKEOVER)
        else:
            self._stop(view, session, DriftKind.ORPHAN_ENDED, f"epoch {epoch} of the key has ended")

    def _look_at_unknown(self, view: ProxyView, session: Session, evidence: str) -> None:
        drift = _drift(view, session, DriftKind.ORPHAN_UNKNOWN, evidence)
        seen = self._desired.drifts.get(drift.drift_key)
        looks = (seen.looks if seen else 0) + 1
        # Who cannot be heard claims nothing: only time in which somebody listened is evidence.
        age = min(self._scene.now - seen.first_seen, self._heard) if seen else timedelta()
        grace = self._policy.grace(drift.kind)
        if looks >= self._policy.orphan_looks and age >= grace:
            self._stop(view, session, drift.kind, f"{drift.evidence}; nobody claimed it in {age.total_seconds():.0f} s")
        else:
            text = f"{grace.total_seconds():.0f} s in which sources are heard, and {self._policy.orphan_looks} looks"
            self._hold(drift, Gate(GateKind.GRACE, text))

    def _stop(self, view: ProxyView, session: Session, kind: DriftKind, evidence: str) -> None:
        drift = _drift(view, session, kind, evidence)
        if (session.stream_id, session.generation, view.proxy_id) in self._desired.pending:
            self._hold(drift, SENT)
            return
        gate = self._scene.warden.may_stop(session.key, view.proxy_id, kind=kind)
        if gate is not None:
            self._hold(drift, gate)
            if kind.drift_class is DriftClass.UNEVIDENCED:
                self.barred.append(Due(view, session, drift))
        elif kind.drift_class is DriftClass.UNEVIDENCED:
            self.due.append(Due(view, session, drift))
        else:
            self._order(view, session, drift)

    def settle(self, verdict: Verdict) -> None:
        """Carry out what was decided about the sessions that were due."""
        for one, gate in verdict.held:
            self._hold(one.drift, gate)
        for one in verdict.stopped:
            self._order(one.view, one.session, one.drift)

    def _order(self, view: ProxyView, session: Session, drift: Drift) -> None:
        self.stops.append(
            Command(
                kind=CommandKind.STOP,
                proxy_id=view.proxy_id,
                boot_id=view.boot_id,
                stream_id=session.stream_id,
                key=session.key,
                epoch=session.epoch,
                generation=session.generation,
                why=f"{drift.kind}: {drift.evidence}",
            )
        )
        self.actions.append(
            Action(Verb.STOP, session.key, session.stream_id, view.proxy_id, session.generation, drift.evidence, drift)
        )

    def _hold(self, drift: Drift, gate: Gate) -> None:
        if drift.kind in _MAY_BE_CLAIMED and drift.drift_key not in self._desired.drifts:
            self.asks_for_births = True
        self.actions.append(Action.hold(drift, gate))


def _drift(view: ProxyView, session: Session, kind: DriftKind, evidence: str) -> Drift:
    return Drift(kind, session.key, session.stream_id, view.proxy_id, session.generation, evidence)


REPLACEMENT = Gate(GateKind.REPLACEMENT, "its replacement has to be seen first")
TAKEOVER = Gate(GateKind.REPLACEMENT, "that stream takes it over")
SENT = Gate(GateKind.SENT, "its stop is on the way")

_MAY_BE_CLAIMED = frozenset({DriftKind.ORPHAN_UNKNOWN, DriftKind.NEWER_THAN_DATABASE})
