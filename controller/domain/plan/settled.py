"""Runs of which nothing is to be said: nearly all of them, nearly always.

Recognised in a glance, so that a cycle over ten thousand streams costs what its differences cost. A law of the tests:
what is called settled here is planned by ``RunPlanner`` without an action and without a change.
"""

from collections.abc import Mapping

from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    Placement,
    PlacementState,
    Run,
    State,
    StreamId,
)
from controller.domain.observation import Session, SessionState
from controller.domain.plan.scene import Scene
from controller.domain.plan.vocabulary import NOTHING_AGREED, Agreed, Policy


class Settled:
    """Tells, in one plan, the settled runs from the others.

    Whether a run and a session say the same is compared once: both are frozen, and what was found of these very two
    holds for as long as no others stand in their place. Time, proxies and controls are looked at in every plan.
    """

    def __init__(self, scene: Scene, before: Agreed = NOTHING_AGREED) -> None:
        self._scene = scene
        self._before: Mapping[StreamId, tuple[Run, Session]] = before.pairs if before.policy is scene.policy else {}
        self._pairs: dict[StreamId, tuple[Run, Session]] = {}
        self.keys: set[Key] = set()
        """Of the runs that were found settled: each is listed once, by a session of that run."""

    @property
    def agreed(self) -> Agreed:
        """What the next plan need not compare again."""
        return Agreed(self._scene.policy, self._pairs)

    def has(self, run: Run) -> bool:
        """Say whether the run is LIVE as wished, at one place, seen there alone, and described as such."""
        stream, scene = run.stream, self._scene
        listed = scene.fleet.of_key(stream.key)
        if len(listed) != 1:
            return False
        [(view, session)] = listed
        known = self._before.get(stream.id)
        if known is None or known[0] is not run or known[1] is not session:
            if not _agree(run, session, scene.policy):
                return False
            known = run, session
        if stream.expires_at is not None and stream.expires_at <= scene.now:
            return False
        if scene.warden.has_controls and scene.warden.control_of(stream.key) is not None:
            return False
        [placement] = run.placements
        if placement.proxy_id != view.proxy_id or placement.boot_id != view.boot_id or view.is_draining:
            return False
        self._pairs[stream.id] = known
        self.keys.add(stream.key)
        return True


def _agree(run: Run, session: Session, policy: Policy) -> bool:
    stream, fingerprint = run.stream, policy.fingerprint
    if stream.state is not State.LIVE or stream.failures or len(run.placements) != 1:
        return False
    [placement] = run.placements
    return (
        placement.state is PlacementState.OBSERVED
        and placement.generation == stream.generation == session.generation
        and placement.spec_generation == stream.spec_generation
        and session.stream_id == stream.id
        and session.epoch == stream.epoch
        and session.looping_seconds is None
        and _is_described(stream.conditions, session, placement, stream.spec_generation)
        and (
            fingerprint is None
            or not session.spec_digest
            or fingerprint(stream.key, stream.spec) == session.spec_digest
        )
    )


def _is_described(
    conditions: tuple[Condition, ...], session: Session, placement: Placement, spec_generation: int
) -> bool:
    """Whether the two conditions that every run has say what ``conditions.describe`` would say."""
    match session.state:
        case SessionState.IDLE if not session.detail:
            wished = (ConditionStatus.UNKNOWN, "Idle", "nobody watches")
        case SessionState.FLOWING if not session.failing_seconds:
            wished = (ConditionStatus.TRUE, "Flowing", "")
        case _:
            return False
    flow = place = False
    for condition in conditions:
        if condition.type is ConditionType.PAUSED or condition.type is ConditionType.END_HELD:
            return False
        if condition.type is ConditionType.LOOPING and condition.status is ConditionStatus.TRUE:
            return False
        said = (condition.status, condition.reason, condition.message)
        if condition.type is ConditionType.FLOWING:
            flow = said == wished and condition.observed_generation == spec_generation
        elif condition.type is ConditionType.PLACED:
            place = said == (ConditionStatus.TRUE, "Observed", f"on proxy {placement.proxy_id}")
            place = place and condition.observed_generation == spec_generation
    return flow and place
