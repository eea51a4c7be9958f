"""Runs of which nothing is to be said: nearly all of them, nearly always.

Recognised in a glance, so that a cycle over ten thousand streams costs what its differences cost. A law of the tests:
what is called settled here is planned by ``RunPlanner`` without an action and without a change.
"""

from controller.domain.model import Condition, ConditionStatus, ConditionType, Placement, PlacementState, Run, State
from controller.domain.observation import Session, SessionState
from controller.domain.plan.scene import Scene


def is_settled(run: Run, scene: Scene) -> bool:
    """Say whether the run is LIVE as wished, at one place, seen there alone, and described as such."""
    stream, fingerprint = run.stream, scene.policy.fingerprint
    if scene.warden.has_controls and scene.warden.control_of(stream.key) is not None:
        return False
    if stream.state is not State.LIVE or stream.failures or len(run.placements) != 1:
        return False
    if stream.expires_at is not None and stream.expires_at <= scene.now:
        return False
    listed = scene.fleet.of_key(stream.key)
    if len(listed) != 1:
        return False
    [placement] = run.placements
    [(view, session)] = listed
    return (
        placement.state is PlacementState.OBSERVED
        and placement.generation == stream.generation == session.generation
        and placement.spec_generation == stream.spec_generation
        and placement.proxy_id == view.proxy_id
        and placement.boot_id == view.boot_id
        and not view.is_draining
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
