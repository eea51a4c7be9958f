"""Planning for one run: what its placements and the sessions seen for them ask for."""

from datetime import datetime, timedelta

from controller.domain.machine import Event, Facts
from controller.domain.model import (
    Cause,
    CommandKind,
    ConditionStatus,
    ConditionType,
    Placement,
    PlacementState,
    Reason,
    Run,
    State,
    Stream,
)
from controller.domain.observation import Desired, Freshness, ProxyView, Session, SessionState
from controller.domain.plan import conditions
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.steps import RECONCILER, Steps
from controller.domain.plan.taxonomy import DriftKind
from controller.domain.plan.vocabulary import REPORTED, Drift, Policy, Verb


class RunPlanner:
    """Plans one run: drafts its next form and explains each step."""

    def __init__(self, run: Run, desired: Desired, fleet: Fleet, policy: Policy, now: datetime) -> None:
        self._run = run
        self._desired = desired
        self._fleet = fleet
        self._policy = policy
        self._now = now
        self._steps = Steps(run, now)
        self.draft = self._steps.draft
        self.actions = self._steps.actions

    def plan(self) -> None:
        stream = self._run.stream
        if stream.state.is_active and stream.expires_at is not None and stream.expires_at <= self._now:
            self._advance(Event.EXPIRED, "not announced again before it expired")
        self._catch_up()
        self._retire_older()
        for placement in self._run.placements:
            self._look_at(placement)
        if self._stream.state.is_active:
            self._doubt_live()
            self._place_if_missing()
        if self._stream.state is State.STALLED:
            self._check_stall_clock()
        if self._stream.state is State.ENDED and not self.draft.run.placements and not self._is_listed():
            self._advance(Event.ALL_GONE, "every placement was observed gone")
        conditions.describe(self.draft, self._fleet)

    @property
    def _stream(self) -> Stream:
        return self.draft.stream

    def _catch_up(self) -> None:
        """Go on above every generation that is known of: rows were lost, or a proxy was told by somebody else."""
        listed = [s.generation for _, s in self._fleet.of_key(self._stream.key) if s.epoch == self._stream.epoch]
        placed = [placement.generation for placement in self._run.placements]
        self.draft.ratchet_generation(max([*listed, *placed], default=0))

    def _is_listed(self) -> bool:
        """Whether any proxy, as it was last seen, runs a session of this run."""
        return self._fleet.lists(self._stream.id)

    def _doubt_live(self) -> None:
        """LIVE means seen. Where every proxy concerned has answered and none runs it, the row was changed by hand."""
        is_known = all(self._fleet.is_fresh(placement.proxy_id) for placement in self.draft.run.wanted)
        if self._stream.state is State.LIVE and is_known and not self._is_listed():
            why = "no proxy runs a session of it"
            self._advance(Event.SESSION_MISSING, why, self._steps.drift(DriftKind.STATE_NOT_OBSERVED, why))

    def _retire_older(self) -> None:
        """Only the newest wanted placement is wanted; the others stop once it was seen."""
        wanted = sorted(self.draft.run.wanted, key=lambda p: p.generation)
        for placement in wanted[:-1] if self._stream.state.is_active else ():
            self.draft.mark_stopping(placement.generation)

    # One placement

    def _look_at(self, before: Placement) -> None:
        placement = self.draft.run.placement(before.generation)
        assert placement is not None  # only its own turn can make it gone
        view = self._fleet.views.get(placement.proxy_id)
        if placement.state.is_wanted and not self._stream.state.is_active:
            self._stop_forgotten(placement, view)
        elif placement.state.is_wanted:
            self._look_at_wanted(placement, view)
        elif view is None:
            self._report_unknown_proxy(placement)
        elif view.is_fresh:
            self._look_at_stopping(placement, view)

    def _stop_forgotten(self, placement: Placement, view: ProxyView | None) -> None:
        """The run is over, and a placement is wanted all the same: somebody changed the rows by hand."""
        if view is not None and view.is_fresh and view.boot_id != placement.boot_id:
            self._confirm_gone(placement, f"proxy {view.proxy_id} has restarted (boot {view.boot_id})")
            return
        evidence = f"the stream is {self._stream.state}, its placement is wanted"
        drift = self._steps.drift(DriftKind.PLACEMENT_NOT_STOPPING, evidence, placement)
        self.draft.mark_stopping(placement.generation)
        self.draft.command(CommandKind.STOP, placement.generation, drift.evidence)
        self._steps.act(Verb.STOP, placement, drift.evidence, drift)

    def _look_at_wanted(self, placement: Placement, view: ProxyView | None) -> None:
        if view is None or not view.is_fresh:
            self._look_at_unreachable(placement, view)
        elif view.boot_id != placement.boot_id:
            self._lose(placement, f"proxy {view.proxy_id} has restarted (boot {view.boot_id})")
        else:
            session = self._fleet.session(placement.proxy_id, placement.stream_id, placement.generation)
            if session is None:
                self._look_at_absent(placement, view)
            else:
                self._look_at_running(placement, session)

    def _look_at_unreachable(self, placement: Placement, view: ProxyView | None) -> None:
        """Unknown is not absent: nothing is killed or moved before the proxy counts as lost."""
        if view is not None and view.freshness is Freshness.LOST and self._has_other_proxy(placement):
            evidence = f"proxy {placement.proxy_id} is lost: {view.error}"
            drift = self._steps.drift(DriftKind.PROXY_LOST, evidence, placement)
            self.draft.mark_stopping(placement.generation)
            self._steps.act(Verb.MOVE, placement, drift.evidence, drift)
            if self._stream.state is State.LIVE:
                self._advance(Event.SESSION_MISSING, drift.evidence)
            return
        seen = view.observed_at if view is not None else None
        silent_since = seen or placement.observed_at or placement.requested_at
        if self._stream.state is State.LIVE and self._now - silent_since >= self._policy.flow_grace:
            self._advance(Event.FLOW_LOST, f"proxy {placement.proxy_id} is unreachable")
        if view is None:
            self._report_unknown_proxy(placement)

    def _report_unknown_proxy(self, placement: Placement) -> None:
        if self._fleet.is_named:
            evidence = f"no proxy is called {placement.proxy_id}"
            self._steps.hold(self._steps.drift(DriftKind.UNKNOWN_PROXY, evidence, placement), REPORTED)

    def _has_other_proxy(self, placement: Placement) -> bool:
        views = self._fleet.views.values()
        return any(v.is_fresh and not v.is_draining and v.proxy_id != placement.proxy_id for v in views)

    def _look_at_absent(self, placement: Placement, view: ProxyView) -> None:
        waited = self._now - placement.requested_at
        if placement.state is PlacementState.REQUESTED and waited >= self._policy.grace(DriftKind.OBSERVED_LAG):
            evidence = f"asked for {waited.total_seconds():.0f} s ago"
            self._steps.hold(self._steps.drift(DriftKind.OBSERVED_LAG, evidence, placement), REPORTED)
        if self._is_pending(placement):
            return
        ahead = [
            s.generation
            for v, s in self._fleet.of_key(self._stream.key)
            if v.proxy_id == view.proxy_id and s.epoch == self._stream.epoch and s.generation > placement.generation
        ]
        if ahead:
            evidence = f"the proxy runs generation {max(ahead)}, the database knows {placement.generation}"
            drift = self._steps.drift(DriftKind.GENERATION_AHEAD, evidence, placement)
            self.draft.mark_gone(placement.generation)
            self._steps.act(Verb.CONFIRM_GONE, placement, evidence, drift)
        elif placement.reply_sequence is None and placement.state is PlacementState.REQUESTED:
            self._resend_start(placement)
        elif view.sequence >= (placement.reply_sequence or 0):
            self._lose(placement, f"list {view.sequence} of proxy {view.proxy_id} lacks it")

    def _resend_start(self, placement: Placement) -> None:
        if placement.spec_generation != self._stream.spec_generation:
            self._replace(placement)
        elif self._now - placement.requested_at >= self._policy.grace(DriftKind.MISSING_SESSION):
            why = "its start was never answered"
            self.draft.command(CommandKind.ENSURE, placement.generation, why)
            self._steps.act(Verb.RESEND, placement, why, self._steps.drift(DriftKind.MISSING_SESSION, why, placement))

    def _lose(self, placement: Placement, evidence: str) -> None:
        """The session is surely not there: the placement is gone, and a newer generation takes its place."""
        self.draft.mark_gone(placement.generation)
        drift = self._steps.drift(DriftKind.MISSING_SESSION, evidence, placement)
        self._steps.act(Verb.CONFIRM_GONE, placement, evidence, drift)
        if self._stream.state is State.LIVE:
            self._advance(Event.SESSION_MISSING, evidence)

    def _look_at_running(self, placement: Placement, session: Session) -> None:
        if self._stream.state is State.PENDING:
            self._advance(Event.PLACED, "its session was seen")
        if session.state is SessionState.FINISHED:
            self._finish(placement, session)
            return
        if placement.state is PlacementState.REQUESTED:
            self.draft.mark_observed(placement.generation)
            self._steps.act(Verb.OBSERVE, placement, "the session was seen")
        if self._stream.state is State.STARTING:
            self._advance(Event.SESSION_OBSERVED, f"seen on proxy {placement.proxy_id}")
        self._check_flow(session)
        if not self._stream.state.is_active:
            return
        if placement.spec_generation != self._stream.spec_generation:
            self._replace(placement)
        else:
            self._check_fingerprint(placement, session)

    def _finish(self, placement: Placement, session: Session) -> None:
        """A session that is over by itself is never a missing one."""
        detail = session.detail or session.finished_reason
        if placement.spec_generation != self._stream.spec_generation:
            # What is over is not what is wished any more.
            self._replace(placement)
            return
        if session.finished_reason in ("upstream_ended", "start_failed"):
            reason = Reason(session.finished_reason)
            self._steps.act(Verb.ADVANCE, placement, f"the session finished: {session.finished_reason}")
            facts = Facts(session_is_observed=True, finish_is_final=True)
            self.draft.because(Cause(RECONCILER, f"the session finished: {session.finished_reason}"))
            self.draft.send(Event.SESSION_FINISHED, facts, reason=reason, detail=detail)
            return
        self.draft.mark_stopping(placement.generation)
        self.draft.command(CommandKind.STOP, placement.generation, "the session failed")
        self.draft.count_failure(self._policy.backoff.delay(self._stream.failures))
        self._steps.act(Verb.STOP, placement, f"the session failed: {detail}")
        self._advance(Event.SESSION_FINISHED, detail)

    def _check_flow(self, session: Session) -> None:
        stream = self._stream
        may_stall = session.delivered or not stream.spec.on_demand
        failing = timedelta(seconds=session.failing_seconds or 0.0)
        is_lost = session.wanted and may_stall and failing >= self._policy.flow_grace
        if is_lost and stream.state is State.LIVE:
            self._advance(Event.FLOW_LOST, session.detail or "no bytes from the upstream")
        elif (
            not is_lost and stream.state is State.STALLED and not stream.is_source_lost and not session.failing_seconds
        ):
            self._advance(Event.FLOW_BACK, "bytes flow again" if session.wanted else "nobody watches")
        if session.state is SessionState.FLOWING and stream.failures:
            self.draft.forget_failures()

    def _check_fingerprint(self, placement: Placement, session: Session) -> None:
        """The right fence, and perhaps not the right spec: somebody has changed a row, or told the proxy."""
        if self._policy.fingerprint is None or not session.spec_digest:
            return
        wished = self._policy.fingerprint(self._stream.key, self._stream.spec)
        if wished != session.spec_digest:
            evidence = f"the proxy runs spec {session.spec_digest}, the row wishes {wished}"
            self._replace(placement, self._steps.drift(DriftKind.WRONG_SPEC, evidence, placement))

    def _replace(self, placement: Placement, drift: Drift | None = None) -> None:
        """Another spec: a newer generation on the same proxy takes the key in place, and its viewers stay."""
        why = drift.evidence if drift else f"spec {self._stream.spec_generation} instead of {placement.spec_generation}"
        self.draft.mark_stopping(placement.generation)
        generation = self._stream.generation + 1
        self.draft.place(placement.proxy_id, placement.boot_id, generation=generation, why=why)
        self._steps.note(Verb.REPLACE, placement.proxy_id, generation, why, drift)

    def _look_at_stopping(self, placement: Placement, view: ProxyView) -> None:
        session = self._fleet.session(placement.proxy_id, placement.stream_id, placement.generation)
        replaced = self._is_replaced_in_place(placement)
        if view.boot_id != placement.boot_id:
            self._confirm_gone(placement, f"proxy {view.proxy_id} has restarted (boot {view.boot_id})")
        elif placement.stop_replied and view.sequence < (placement.reply_sequence or 0):
            return  # this list is older than the reply to its stop
        elif session is None and replaced:
            self._confirm_gone(placement, "a newer generation took its place")
        elif session is None and placement.stop_replied:
            self._confirm_gone(placement, f"list {view.sequence} of proxy {view.proxy_id} lacks it")
        elif not self._is_pending(placement) and (replaced or not self._must_wait_for_replacement(placement)):
            self._stop_again(placement, session)

    def _is_replaced_in_place(self, placement: Placement) -> bool:
        return any(
            p.proxy_id == placement.proxy_id
            and p.generation > placement.generation
            and self._fleet.session(p.proxy_id, p.stream_id, p.generation) is not None
            for p in self.draft.run.wanted
        )

    def _must_wait_for_replacement(self, placement: Placement) -> bool:
        """Make before break: the old one goes only when this very observation shows the new one."""
        if not self._stream.state.is_active:
            return False
        newer = [p for p in self.draft.run.wanted if p.generation > placement.generation]
        if self._is_failed(placement) and all(p.proxy_id != placement.proxy_id for p in newer):
            return False
        return not any(self._fleet.session(p.proxy_id, p.stream_id, p.generation) for p in newer)

    def _is_failed(self, placement: Placement) -> bool:
        session = self._fleet.session(placement.proxy_id, placement.stream_id, placement.generation)
        return session is not None and session.state is SessionState.FINISHED

    def _stop_again(self, placement: Placement, session: Session | None) -> None:
        since = self._now - (placement.stopping_at or self._now)
        why = "its stop was never answered" if session is None else "still listed after its stop"
        drift = None
        if session is not None and since >= self._policy.grace(DriftKind.STUCK_STOPPING):
            evidence = f"still listed {since.total_seconds():.0f} s after its stop was decided"
            drift = self._steps.drift(DriftKind.STUCK_STOPPING, evidence, placement)
        self.draft.command(CommandKind.STOP, placement.generation, why)
        self._steps.act(Verb.RESEND, placement, why, drift)

    def _confirm_gone(self, placement: Placement, evidence: str) -> None:
        self.draft.mark_gone(placement.generation)
        self._steps.act(Verb.CONFIRM_GONE, placement, evidence)

    def _is_pending(self, placement: Placement) -> bool:
        is_told = self.draft.is_told_to_stop(placement.generation)
        return is_told or (placement.stream_id, placement.generation, placement.proxy_id) in self._desired.pending

    # The run as a whole

    def _place_if_missing(self) -> None:
        stream = self._stream
        if self.draft.run.wanted:
            return
        newer = [(v, s) for v, s in self._fleet.of_key(stream.key) if s.epoch > stream.epoch]
        if newer:
            self.draft.set_condition(
                ConditionType.PLACED,
                ConditionStatus.FALSE,
                "NewerThanDatabase",
                f"proxy {newer[0][0].proxy_id} runs epoch {newer[0][1].epoch}",
            )
            return
        if stream.retry_at is not None and stream.retry_at > self._now:
            self._explain_backing_off(stream)
            return
        chosen = self._fleet.choose(stream)
        if chosen is None:
            self.draft.set_condition(
                ConditionType.PLACED, ConditionStatus.FALSE, "NoProxy", "no proxy is reachable that takes streams"
            )
            return
        generation = stream.generation + 1
        why = "no placement" if not self._run.placements else "its placement is gone"
        self.draft.place(chosen.proxy_id, chosen.boot_id, generation=generation, why=why)
        self._steps.note(Verb.PLACE, chosen.proxy_id, generation, why)

    def _explain_backing_off(self, stream: Stream) -> None:
        """Where a reply has not said already why it is not placed."""
        placed = stream.condition(ConditionType.PLACED)
        if placed is None or placed.status is not ConditionStatus.FALSE:
            message = f"failed {stream.failures} times, the next try comes later"
            self.draft.set_condition(ConditionType.PLACED, ConditionStatus.FALSE, "BackingOff", message)

    def _check_stall_clock(self) -> None:
        stream = self._stream
        own = stream.stall_timeout_seconds
        timeout = self._policy.stall_timeout if own is None else timedelta(seconds=own)
        if timeout is not None and self._now - stream.state_since >= timeout:
            self._advance(Event.STALL_TIMEOUT, f"stalled for {timeout.total_seconds():.0f} s")

    # Words

    def _advance(self, event: Event, why: str, drift: Drift | None = None) -> None:
        self._steps.advance(event, why, is_listed=self._is_listed(), drift=drift)
