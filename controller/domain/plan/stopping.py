"""Planning for placements that are not wanted any more: told to stop, and waited for until they are seen gone."""

from controller.domain.model import CommandKind, Placement
from controller.domain.observation import ProxyView, Session, SessionState
from controller.domain.plan.scene import Scene
from controller.domain.plan.steps import Steps
from controller.domain.plan.taxonomy import DriftKind
from controller.domain.plan.vocabulary import Verb


class Stopping:
    """Looks at the placements of one run that stop, or should."""

    def __init__(self, scene: Scene, steps: Steps) -> None:
        self._scene = scene
        self._steps = steps
        self._draft = steps.draft

    def stop_forgotten(self, placement: Placement, view: ProxyView | None) -> None:
        """The run is over, and a placement is wanted all the same: somebody changed the rows by hand."""
        if view is not None and view.is_fresh and view.boot_id != placement.boot_id:
            self._confirm_gone(placement, f"proxy {view.proxy_id} has restarted (boot {view.boot_id})")
            return
        evidence = f"the stream is {self._draft.run.stream.state}, its placement is wanted"
        drift = self._steps.drift(DriftKind.PLACEMENT_NOT_STOPPING, evidence, placement)
        gate = self._scene.warden.may_stop(self._draft.run.stream.key, placement.proxy_id, kind=drift.kind)
        if self._steps.is_held(gate, placement, evidence, drift):
            return
        self._draft.mark_stopping(placement.generation)
        self._draft.command(CommandKind.STOP, placement.generation, drift.evidence)
        self._steps.act(Verb.STOP, placement, drift.evidence, drift)

    def look_at(self, placement: Placement, view: ProxyView) -> None:
        session = self._scene.session(placement)
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
            and self._scene.session(p) is not None
            for p in self._draft.run.wanted
        )

    def _must_wait_for_replacement(self, placement: Placement) -> bool:
        """Make before break: the old one goes only when this very observation shows the new one."""
        if not self._draft.run.stream.state.is_active:
            return False
        newer = [p for p in self._draft.run.wanted if p.generation > placement.generation]
        if self._is_failed(placement) and all(p.proxy_id != placement.proxy_id for p in newer):
            return False
        return not any(self._scene.session(p) and not self._is_failed(p) for p in newer)

    def _is_failed(self, placement: Placement) -> bool:
        session = self._scene.session(placement)
        return session is not None and session.state is SessionState.FINISHED

    def _stop_again(self, placement: Placement, session: Session | None) -> None:
        since = self._scene.now - (placement.stopping_at or self._scene.now)
        why = "its stop was never answered" if session is None else "still listed after its stop"
        drift = None
        if session is not None and since >= self._scene.policy.grace(DriftKind.STUCK_STOPPING):
            evidence = f"still listed {since.total_seconds():.0f} s after its stop was decided"
            drift = self._steps.drift(DriftKind.STUCK_STOPPING, evidence, placement)
        is_decided = not self._draft.run.stream.state.is_active
        gate = self._scene.warden.may_stop(self._draft.run.stream.key, placement.proxy_id, is_decided=is_decided)
        if self._steps.is_held(gate, placement, why, drift):
            return
        self._draft.command(CommandKind.STOP, placement.generation, why)
        self._steps.act(Verb.RESEND, placement, why, drift)

    def _confirm_gone(self, placement: Placement, evidence: str) -> None:
        self._draft.mark_gone(placement.generation)
        self._steps.act(Verb.CONFIRM_GONE, placement, evidence)

    def _is_pending(self, placement: Placement) -> bool:
        return self._draft.is_told_to_stop(placement.generation) or self._scene.is_pending(placement)
