"""The rules that keep streams right, each switched off alone: some world has to go wrong without it.

A rule is switched off here, by exchanging the function that keeps it, and nowhere in the product. A rule that no seed
misses is covered by others in this small model; it has a directed test instead, named with it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from controller.domain.admission import Intake, Verdict
from controller.domain.events import Order, StreamEndAnnounced
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import Run
from controller.domain.observation import ProxyView, Session
from controller.domain.plan.orphans import OrphanPlanner
from controller.domain.plan.stopping import Stopping
from controller.domain.plan.taxonomy import DriftKind
from controller.domain.processes import Processes
from proxy import contract
from proxy.contract import EnsureOutcome, StopOutcome
from tests.fakes.proxy_fences import FakeRegistry, Fence
from tests.simulation import world
from tests.simulation.chance import STORM
from tests.simulation.faults import INTERVALS
from tests.simulation.mqtt import SimulatedConnection
from tests.simulation.patches import exchanged
from tests.simulation.sources import Source
from tests.simulation.world import Outcome, Plot

USUAL = Plot()

RESTORED = Plot(
    restore_probability=1.0,
    blackout_probability=1.0,
    blackout_seconds=(10.5, 13.0),
    intervals=replace(INTERVALS, kill=200.0, freeze=200.0, partition=200.0, broker=200.0),
)
"""Rules about what the database does not know show themselves where it was set back."""

MOVING = Plot(
    weather=replace(STORM, request_lost=0.35, request_late=0.1, crash_at_await=0.0, crash_at_commit=0.0),
    intervals=replace(INTERVALS, partition=5.0, kill=200.0, freeze=200.0, broker=200.0, database=200.0),
    restore_probability=0.0,
)
"""Rules about moves show themselves where proxies vanish for long, and commands on the way."""


@dataclass(frozen=True)
class Rule:
    """One rule, and how to do without."""

    name: str
    meaning: str
    without: Callable[[], AbstractContextManager[None]]
    plot: Plot = USUAL
    directed: str = ""
    """The test that fails without it, where no world goes wrong."""


def live_without(rule: Rule, seed: int) -> Outcome:
    """Live through a world without the rule. What goes wrong with it, too, is no proof, and is taken out."""
    with rule.without():
        outcome = world.run(seed, rule.plot)
    if outcome.violations and world.run(seed, rule.plot).violations:
        return replace(outcome, violations=[])
    return outcome


def find(rule: Rule, seeds: Iterable[int]) -> Outcome | None:
    """Return the first world that goes wrong without the rule, and only without."""
    return next((outcome for seed in seeds if (outcome := live_without(rule, seed)).violations), None)


def _exchanging(owner: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[None]]:
    return lambda: exchanged(owner, name, value)


# Order


def _end_by_arrival(_self: Intake, event: StreamEndAnnounced, _order: Order, draft: Draft | None) -> Verdict:
    if draft is None or not draft.run.stream.state.is_active:
        return Verdict.UNKNOWN
    draft.because(event.cause).send(Event.END, reason=event.reason, detail=event.detail)
    return Verdict.ENDED


# Fences


def _ensure_anything(
    self: FakeRegistry, stream_id: str, asked: contract.EnsureRequest
) -> tuple[EnsureOutcome, Fence | None]:
    if guard := self.guard(asked.boot_id, asked.token):
        return EnsureOutcome(guard), None
    self._put(stream_id, asked.spec, (asked.epoch, asked.generation))
    return EnsureOutcome.STARTED, None


def _stop_anything(
    self: FakeRegistry, _stream_id: str, asked: contract.StopRequest
) -> tuple[StopOutcome, Fence | None]:
    if guard := self.guard(asked.boot_id, asked.token):
        return StopOutcome(guard), None
    held = self.views.pop(asked.key, None)
    if held is None:
        return StopOutcome.NOT_FOUND, None
    self._ring(held.key)
    return StopOutcome.STOPPED, None


@contextmanager
def _without_fences() -> Iterator[None]:
    with exchanged(FakeRegistry, "ensure", _ensure_anything), exchanged(FakeRegistry, "stop", _stop_anything):
        yield


# Births


def _bear_nothing(self: Source) -> None:
    self.has_birth_due = False


# Planning

_look_at_stranger = OrphanPlanner._look_at_stranger


def _stop_newer(self: OrphanPlanner, view: ProxyView, session: Session) -> None:
    run = self._newest.get(session.key)
    if run is not None and run.stream.epoch < session.epoch:
        self._stop(view, session, DriftKind.NEWER_THAN_DATABASE, "the database does not know it")
    else:
        _look_at_stranger(self, view, session)


def _stop_unknown(self: OrphanPlanner, view: ProxyView, session: Session, evidence: str) -> None:
    self._stop(view, session, DriftKind.ORPHAN_UNKNOWN, evidence)


def _stop_other_generation(self: OrphanPlanner, view: ProxyView, session: Session, _run: Run) -> None:
    self._stop(view, session, DriftKind.ORPHAN_GENERATION, "another generation than the database's")


# Acknowledgement

_arrive = SimulatedConnection._arrive


def _acknowledge_on_arrival(self: SimulatedConnection, number: int, letter: Any) -> None:
    _arrive(self, number, letter)
    if not self._is_lost:
        self.confirm(self._inbox[-1])


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "order",
            "(epoch, seq) says which message is newer, never arrival",
            _exchanging(Intake, "_end_ordered", _end_by_arrival),
        ),
        Rule("fences", "a proxy compares (epoch, generation) per key, and keeps tombstones", _without_fences),
        Rule(
            "births",
            "sources say what they run, on connecting and when asked",
            _exchanging(Source, "bear", _bear_nothing),
        ),
        Rule(
            "processes",
            "what a process of a source said before, or says after another has come online, proves nothing",
            _exchanging(Processes, "hear_birth", lambda _self, _birth: None),
        ),
        Rule(
            "make before break",
            "an old placement stops only when the new one was seen",
            _exchanging(Stopping, "_must_wait_for_replacement", lambda _self, _placement: False),
            MOVING,
        ),
        Rule(
            "newer than database",
            "a session of a higher epoch than the database's is held",
            _exchanging(OrphanPlanner, "_look_at_stranger", _stop_newer),
            RESTORED,
        ),
        Rule(
            "evidence",
            "what no row tells of is stopped only after a grace and two looks",
            _exchanging(OrphanPlanner, "_look_at_unknown", _stop_unknown),
            RESTORED,
        ),
        Rule(
            "seen replacement",
            "another generation is stopped only when the wanted one was seen",
            _exchanging(OrphanPlanner, "_look_at_generation", _stop_other_generation),
            RESTORED,
            directed="test_a_replacement_that_was_not_seen_is_none",
        ),
        Rule(
            "orphan loop",
            "sessions that no placement asks for are looked for",
            _exchanging(OrphanPlanner, "plan", lambda _self: None),
            RESTORED,
        ),
        Rule(
            "acknowledge after commit",
            "the broker may forget a message once it is in the database, not before",
            _exchanging(SimulatedConnection, "_arrive", _acknowledge_on_arrival),
        ),
    )
}
