"""The planner: what the database wishes against what the proxies run, and what to do about every difference.

``plan`` is pure and total: equal readings give equal plans, every reading gives one. Carrying a plan out reaches the
wish, and planning again then finds nothing to do. Rules it keeps: unknown is not absent; finished is not missing; a
command names its exact target; nothing is stopped for want of a row before it was seen twice and given its grace; an
old generation goes only when this very observation shows the new one.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from controller.domain.budgets import Purse
from controller.domain.observation import Desired, Observed
from controller.domain.plan import unevidenced
from controller.domain.plan.held_ends import HeldEnds
from controller.domain.plan.orphans import OrphanPlanner
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.runs import RunPlanner
from controller.domain.plan.scene import Scene
from controller.domain.plan.settled import Settled
from controller.domain.plan.taxonomy import DriftClass, DriftKind, GateKind
from controller.domain.plan.vocabulary import NOTHING_AGREED, REPORTED, Action, Drift, Plan, Policy, Standing, Verb
from controller.domain.plan.warden import Warden

__all__ = [
    "NEWCOMER",
    "Action",
    "Drift",
    "DriftClass",
    "DriftKind",
    "GateKind",
    "Plan",
    "Policy",
    "Standing",
    "Verb",
    "plan",
]

NEWCOMER = Standing()


def plan(desired: Desired, observed: Observed, policy: Policy, now: datetime, standing: Standing = NEWCOMER) -> Plan:
    """Return what to do so that the proxies run what the database wishes.

    Args:
        desired: one reading of the database, taken after ``observed``, so that every placement a listed session could
            have was known to it.
        observed: the newest list of every proxy, each with how far it may be believed.
        policy: graces and limits.
        now: the database's time.
        standing: what the controller that plans brings along from its earlier plans.
    """
    fleet = Fleet(observed, desired.keys, desired.controls)
    fleet.moves_left = _moves_left(desired, fleet, policy)
    purse = Purse(standing.budgets, policy.limits, now, is_braked=desired.breaker.is_open)
    held_ends = HeldEnds(desired, policy.mass_end)
    scene = Scene(desired, fleet, policy, now, Warden(desired.controls, standing, purse), held_ends)
    actions: list[Action] = []
    changes = []
    is_full = desired.keys is None
    settled = Settled(scene, standing.agreed if is_full else NOTHING_AGREED)
    drafts = {}
    for run in settled.others:
        planner = RunPlanner(run, scene)
        planner.plan()
        actions.extend(planner.actions)
        drafts[run.stream.id] = planner.draft.run
        change = planner.draft.change()
        if change is not None:
            changes.append(change)
    orphans = OrphanPlanner(scene, drafts, settled.keys, standing.heard)
    orphans.plan()
    verdict = unevidenced.decide(orphans.due, orphans.barred, scene, standing, wanted=settled.wanted)
    orphans.settle(verdict)
    actions += [*orphans.actions, *_report_stuck(desired, fleet), *_report_silent(desired)]
    return Plan(
        actions=tuple(actions),
        changes=tuple(changes),
        stops=tuple(orphans.stops),
        standing=replace(
            standing,
            budgets=purse.left,
            glance=verdict.glance,
            quiet=verdict.quiet,
            # Part of the world is no reason to forget the rest.
            agreed=settled.agreed if is_full else standing.agreed,
        ),
        breaker=verdict.breaker,
        is_breaker_changed=verdict.breaker != desired.breaker,
        digest=verdict.digest or held_ends.digest,
        approval=verdict.approval or (held_ends.digest if held_ends.is_approved else ""),
        asks_for_births=orphans.asks_for_births,
    )


def _moves_left(desired: Desired, fleet: Fleet, policy: Policy) -> int:
    """Return how many streams may leave drained proxies now. Only a look at everything knows how many are leaving."""
    if desired.keys is not None or not any(view.is_draining for view in fleet.views.values()):
        return 0
    moving = sum(
        run.stream.state.is_active and any(not p.state.is_wanted and fleet.is_fresh(p.proxy_id) for p in run.placements)
        for run in desired.runs
    )
    return max(0, policy.drain_moves_max - moving)


def _report_stuck(desired: Desired, fleet: Fleet) -> Iterator[Action]:
    """A proxy that lists and does not obey is told of; one that is unreachable is so already."""
    for stuck in desired.stuck:
        if fleet.is_fresh(stuck.proxy_id):
            target = (stuck.key, stuck.stream_id, stuck.proxy_id, stuck.generation)
            evidence = f"{stuck.kind} was sent {stuck.attempts} times: {stuck.error}"
            yield Action.hold(Drift(DriftKind.OUTBOX_STUCK, *target, evidence), REPORTED)


def _report_silent(desired: Desired) -> Iterator[Action]:
    for source in desired.silent:
        last = f"the last came at {source.birth_at:%Y-%m-%d %H:%M:%S} UTC" if source.birth_at else "none ever came"
        evidence = f"source {source.id} is connected and does not answer requests for a birth; {last}"
        yield Action.hold(Drift(DriftKind.SILENT_SOURCE, "", "", "", 0, evidence, source.id), REPORTED)
