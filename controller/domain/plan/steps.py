"""The steps a plan takes with one run: each changes the run's draft, and says so as an action."""

from datetime import datetime

from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import Cause, Placement, Run
from controller.domain.plan.taxonomy import DriftKind
from controller.domain.plan.vocabulary import Action, Drift, Gate, Verb

RECONCILER = "reconciler"


class Steps:
    """One run on its way to its next form, and the words for it."""

    def __init__(self, run: Run, now: datetime) -> None:
        self.draft = Draft(run, Cause(RECONCILER, "plan"), now)
        self.actions: list[Action] = []

    def advance(self, event: Event, why: str, *, is_listed: bool, drift: Drift | None = None) -> None:
        """Send an event to the run; ``is_listed`` as in ``machine.Facts``."""
        before = self.draft.run.stream.state
        self.draft.because(Cause(RECONCILER, why))
        after = self.draft.send(event, self.draft.facts(is_listed=is_listed), detail=why)
        if after is not before:
            self.note(Verb.ADVANCE, "", 0, f"{before} -> {after}: {why}", drift)

    def act(self, verb: Verb, placement: Placement, why: str, drift: Drift | None = None) -> None:
        """Say what was done about a placement."""
        self.note(verb, placement.proxy_id, placement.generation, why, drift)

    def hold(self, drift: Drift, gate: Gate) -> None:
        """Say that nothing is done about a drift, and what that waits for."""
        self.actions.append(Action.hold(drift, gate))

    def hold_step(self, placement: Placement | None, why: str, gate: Gate) -> None:
        """Say that a step which is no repair is not taken, and what that waits for."""
        stream = self.draft.run.stream
        proxy_id, generation = (placement.proxy_id, placement.generation) if placement is not None else ("", 0)
        target = (stream.key, stream.id, proxy_id, generation)
        self.actions.append(Action(Verb.HOLD, *target, why, gate=gate.text, gate_kind=gate.kind))

    def is_held(self, gate: Gate | None, placement: Placement, why: str, drift: Drift | None = None) -> bool:
        """Whether a gate is shut; if so, say it."""
        if gate is not None and drift is not None:
            self.hold(drift, gate)
        elif gate is not None:
            self.hold_step(placement, why, gate)
        return gate is not None

    def drift(self, kind: DriftKind, evidence: str, placement: Placement | None = None) -> Drift:
        stream = self.draft.run.stream
        proxy_id, generation = (placement.proxy_id, placement.generation) if placement is not None else ("", 0)
        return Drift(kind, stream.key, stream.id, proxy_id, generation, evidence)

    def note(self, verb: Verb, proxy_id: str, generation: int, why: str, drift: Drift | None = None) -> None:
        """Add an action."""
        stream = self.draft.run.stream
        self.actions.append(Action(verb, stream.key, stream.id, proxy_id, generation, why, drift))
