"""Planning for one run: what its placements and the sessions seen for them ask for."""

from datetime import timedelta

from controller.domain import loops
from controller.domain.machine import Event, Facts, is_allowed
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
from controller.domain.observation import Freshness, ProxyView, Session, SessionState
from controller.domain.plan import conditions
from controller.domain.plan.held_ends import WAITS_FOR_SECOND_WORD
from controller.domain.plan.scene import Scene
from controller.domain.plan.steps import RECONCILER, Steps
from controller.domain.plan.stopping import Stopping
from controller.domain.plan.taxonomy import DriftKind
from controller.domain.plan.vocabulary import REPORTED, Drift, Verb


class RunPlanner:
    """Plans one run: drafts its next form and explains each step."""

    def __init__(self, run: Run, scene: Scene) -> None:
        self._run = run
        self._scene = scene
        self._fleet = scene.fleet
        self._policy = scene.policy
        self._now = scene.now
        self._steps = Steps(run, scene.now)
        self.draft = self._steps.draft
        self.actions = self._steps.actions

    def plan(self) -> None:
        stream = self._run.stream
        if stream.state.is_active and stream.expires_at is not None and stream.expires_at <= self._now:
            self._end(Event.EXPIRED, "not announced again before it expired")
        if self._scene.held_ends and stream.state.is_active:
            self._look_at_held_end(stream)
        self._catch_up()
        self._retire_older()
        for placement in self._run.placements:
            self._look_at(placement)
        if self._stream.state.is_active:
            self._doubt_live()
            self._place_if_missing()
        if self._stream.state is State.STALLED:
            self._check_stall_clock()
        self._check_loop_clock()
        if self._stream.state is State.ENDED and not self.draft.run.placements and not self._is_listed():
            self._advance(Event.ALL_GONE, "every placement was observed gone")
        conditions.describe(self.draft, self._fleet)
        conditions.describe_pause(self.draft, self._scene.warden, self.actions)

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
        if view is None and placement.proxy_id in self._fleet.decommissioned:
            self._take_as_gone(placement)
        elif placement.state.is_wanted and not self._stream.state.is_active:
            Stopping(self._scene, self._steps).stop_forgotten(placement, view)
        elif placement.state.is_wanted:
            self._look_at_wanted(placement, view)
        elif view is None:
            self._report_unknown_proxy(placement)
        elif view.is_fresh:
            Stopping(self._scene, self._steps).look_at(placement, view)

    def _look_at_wanted(self, placement: Placement, view: ProxyView | None) -> None:
        if view is None or not view.is_fresh:
            self._look_at_unreachable(placement, view)
        elif view.boot_id != placement.boot_id:
            self._lose(placement, f"proxy {view.proxy_id} has restarted (boot {view.boot_id})")
        else:
            session = self._scene.session(placement)
            if session is None:
                self._look_at_absent(placement, view)
            else:
                self._look_at_running(placement, session)
                self._leave_if_drained(placement, view)

    def _take_as_gone(self, placement: Placement) -> None:
        """An operator's word is the only one that counts about a proxy that does not answer."""
        why = f"an operator says that proxy {placement.proxy_id} is gone"
        self.draft.mark_gone(placement.generation)
        self._steps.act(Verb.CONFIRM_GONE, placement, why)
        if self._stream.state is State.LIVE and placement.state.is_wanted:
            self._advance(Event.SESSION_MISSING, why)

    def _leave_if_drained(self, placement: Placement, view: ProxyView) -> None:
        """Go elsewhere, a few at a time: the session here stays until the one there was seen."""
        now = self.draft.run.placement(placement.generation)
        if not view.is_draining or not self._stream.state.is_active or now is None or not now.state.is_wanted:
            return
        others = [taker.proxy_id for taker in self._fleet.takers]
        if self._fleet.moves_left <= 0 or not others:
            return
        why = f"proxy {placement.proxy_id} is being drained"
        warden, key = self._scene.warden, self._stream.key
        gate = warden.may_start(key, placement.proxy_id) or warden.may_place(key, others)
        if not self._steps.is_held(gate, placement, why):
            self._fleet.moves_left -= 1
            self.draft.mark_stopping(placement.generation)
            self._steps.act(Verb.MOVE, placement, why)

    def _look_at_unreachable(self, placement: Placement, view: ProxyView | None) -> None:
        """Unknown is not absent: nothing is killed or moved before the proxy counts as lost."""
        others = [v.proxy_id for v in self._fleet.takers if v.proxy_id != placement.proxy_id]
        if view is not None and view.freshness is Freshness.LOST and others:
            evidence = f"proxy {placement.proxy_id} is lost: {view.error}"
            drift = self._steps.drift(DriftKind.PROXY_LOST, evidence, placement)
            warden, key = self._scene.warden, self._stream.key
            gate = warden.may_start(key, placement.proxy_id) or warden.may_place(key, others)
            if not self._steps.is_held(gate, placement, evidence, drift):
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

    def _look_at_absent(self, placement: Placement, view: ProxyView) -> None:
        waited = self._now - placement.requested_at
        if placement.state is PlacementState.REQUESTED and waited >= self._policy.grace(DriftKind.OBSERVED_LAG):
            evidence = f"asked for {waited.total_seconds():.0f} s ago"
            self._steps.hold(self._steps.drift(DriftKind.OBSERVED_LAG, evidence, placement), REPORTED)
        if self._scene.is_pending(placement):
            return
        ahead = [
            s.generation
            for v, s in self._fleet.of_key(self._stream.key)
            if v.proxy_id == view.proxy_id and s.epoch == self._stream.epoch and s.generation > placement.generation
        ]
        if ahead:
            evidence = f"the proxy runs generation {max(ahead)}, the database knows {placement.generation}"
            drift = self._steps.drift(DriftKind.GENERATION_AHEAD, evidence, placement)
            if self._is_start_held(placement, evidence, drift):
                return
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
            drift = self._steps.drift(DriftKind.MISSING_SESSION, why, placement)
            if self._is_start_held(placement, why, drift):
                return
            self.draft.command(CommandKind.ENSURE, placement.generation, why)
            self._steps.act(Verb.RESEND, placement, why, drift)

    def _lose(self, placement: Placement, evidence: str) -> None:
        """The session is surely not there: the placement is gone, and a newer generation takes its place."""
        drift = self._steps.drift(DriftKind.MISSING_SESSION, evidence, placement)
        if not self._is_start_held(placement, evidence, drift):
            self.draft.mark_gone(placement.generation)
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
        loops.look(self.draft, session)
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
            gate = self._scene.warden.may_end(self._stream.key, placement.proxy_id)
            if self._steps.is_held(gate, placement, f"the session finished: {session.finished_reason}"):
                return
            reason = Reason(session.finished_reason)
            self._steps.act(Verb.ADVANCE, placement, f"the session finished: {session.finished_reason}")
            facts = Facts(session_is_observed=True, finish_is_final=True)
            self.draft.because(Cause(RECONCILER, f"the session finished: {session.finished_reason}"))
            self.draft.send(Event.SESSION_FINISHED, facts, reason=reason, detail=detail)
            return
        why = f"the session failed: {detail}"
        if self._is_start_held(placement, why):
            return
        self.draft.mark_stopping(placement.generation)
        self.draft.count_failure(self._policy.backoff.delay(self._stream.failures))
        gate = self._scene.warden.may_stop(self._stream.key, placement.proxy_id, is_decided=True)
        if not self._steps.is_held(gate, placement, why):
            self.draft.command(CommandKind.STOP, placement.generation, "the session failed")
            self._steps.act(Verb.STOP, placement, why)
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
            drift = self._steps.drift(DriftKind.WRONG_SPEC, evidence, placement)
            gate = self._scene.warden.may_stop(self._stream.key, placement.proxy_id, kind=drift.kind)
            if not self._steps.is_held(gate, placement, evidence, drift):
                self._replace(placement, drift)

    def _replace(self, placement: Placement, drift: Drift | None = None) -> None:
        """Another spec: a newer generation on the same proxy takes the key in place, and its viewers stay."""
        why = drift.evidence if drift else f"spec {self._stream.spec_generation} instead of {placement.spec_generation}"
        if drift is None and self._is_start_held(placement, why):
            return
        self.draft.mark_stopping(placement.generation)
        generation = self._stream.generation + 1
        self.draft.place(placement.proxy_id, placement.boot_id, generation=generation, why=why)
        self._steps.note(Verb.REPLACE, placement.proxy_id, generation, why, drift)

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
        warden = self._scene.warden
        gate = warden.may_place(stream.key, [view.proxy_id for view in self._fleet.takers])
        if gate is not None:
            self._steps.hold_step(None, "it is not placed", gate)
            self.draft.set_condition(ConditionType.PLACED, ConditionStatus.FALSE, "Held", f"until {gate.text}")
            return
        chosen = self._fleet.choose(stream, lambda proxy_id: warden.may_start(stream.key, proxy_id) is None)
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
            self._end(Event.STALL_TIMEOUT, f"stalled for {timeout.total_seconds():.0f} s")

    def _look_at_held_end(self, stream: Stream) -> None:
        condition = stream.condition(ConditionType.END_HELD)
        if condition is None:
            return
        why = self._scene.held_ends.release(stream, self._now - condition.since)
        gate = self._scene.warden.may_end(stream.key) if why else WAITS_FOR_SECOND_WORD
        if gate is not None:
            self._steps.hold_step(None, "its source says that it has ended", gate)
            return
        self.draft.because(Cause(RECONCILER, why)).carry_out_end(why)
        self._steps.note(Verb.ADVANCE, "", 0, f"{stream.state} -> {self._stream.state}: {why}")

    def _check_loop_clock(self) -> None:
        timeout, age = self._policy.loop_timeout, loops.age(self._stream, self._now)
        if timeout is None or age is None or age < timeout or not is_allowed(self._stream.state, Event.LOOP_DETECTED):
            return
        looping = self._stream.condition(ConditionType.LOOPING)
        assert looping is not None  # it has an age
        self._end(Event.LOOP_DETECTED, f"{looping.message}, for {age.total_seconds():.0f} s")
        if self._policy.block_retention and not self._stream.state.is_active:
            self.draft.block(self._now + self._policy.block_retention)

    # Words

    def _is_start_held(self, placement: Placement, why: str, drift: Drift | None = None) -> bool:
        gate = self._scene.warden.may_start(self._stream.key, placement.proxy_id)
        return self._steps.is_held(gate, placement, why, drift)

    def _end(self, event: Event, why: str) -> None:
        """End the run by one of the loop's own clocks."""
        gate = self._scene.warden.may_end(self._stream.key)
        if gate is not None:
            self._steps.hold_step(None, why, gate)
            return
        self._advance(event, why)

    def _advance(self, event: Event, why: str, drift: Drift | None = None) -> None:
        self._steps.advance(event, why, is_listed=self._is_listed(), drift=drift)
