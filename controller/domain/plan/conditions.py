"""What a run's conditions say once it is planned: where it is placed, whether it flows, what its end waits for."""

from collections.abc import Sequence

from controller.domain.lifecycle import Draft
from controller.domain.model import ConditionStatus, ConditionType, Placement, PlacementState, State
from controller.domain.observation import SessionState
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.taxonomy import GateKind
from controller.domain.plan.vocabulary import Action
from controller.domain.plan.warden import Warden


def describe(draft: Draft, fleet: Fleet) -> None:
    """Set the conditions that follow from the placements of the draft and the sessions seen for them."""
    run = draft.run
    if not run.stream.state.is_active:
        _describe_stopping(draft, fleet)
        return
    placement = max(run.wanted, key=lambda p: p.generation, default=None)
    if placement is None:
        _forget_flow(draft, fleet)
        return
    where = f"on proxy {placement.proxy_id}"
    if placement.state is PlacementState.OBSERVED:
        draft.set_condition(ConditionType.PLACED, ConditionStatus.TRUE, "Observed", where)
    else:
        draft.set_condition(ConditionType.PLACED, ConditionStatus.FALSE, "Requested", where)
    _describe_flow(draft, fleet, placement)


def _forget_flow(draft: Draft, fleet: Fleet) -> None:
    """Nothing is said any more of a session that nobody lists."""
    if not fleet.lists(draft.run.stream.id):
        draft.clear_condition(ConditionType.FLOWING)


def _describe_flow(draft: Draft, fleet: Fleet, placement: Placement) -> None:
    view = fleet.views.get(placement.proxy_id)
    if view is None or not view.is_fresh:
        reason, message = "ProxyUnreachable", view.error if view is not None else "its proxy is not configured"
        draft.set_condition(ConditionType.FLOWING, ConditionStatus.UNKNOWN, reason, message)
        return
    session = fleet.session(placement.proxy_id, placement.stream_id, placement.generation)
    if session is None:
        _forget_flow(draft, fleet)
        return
    match session.state:
        case SessionState.FLOWING:
            status, reason, message = ConditionStatus.TRUE, "Flowing", ""
        case SessionState.IDLE if session.detail:
            status, reason, message = ConditionStatus.FALSE, "StartFailed", session.detail
        case SessionState.IDLE:
            status, reason, message = ConditionStatus.UNKNOWN, "Idle", "nobody watches"
        case _:
            status, reason, message = ConditionStatus.FALSE, session.state.value.capitalize(), session.detail
    draft.set_condition(ConditionType.FLOWING, status, reason, message)


def _describe_stopping(draft: Draft, fleet: Fleet) -> None:
    left = draft.run.placements
    if draft.run.stream.state is State.ENDED and left:
        unreachable = [p.proxy_id for p in left if not fleet.is_fresh(p.proxy_id)]
        reason = "ProxyUnreachable" if unreachable else "Stopping"
        message = f"waiting for {', '.join(sorted({p.proxy_id for p in left}))}"
        draft.set_condition(ConditionType.SESSIONS_STOPPED, ConditionStatus.FALSE, reason, message)


def describe_pause(draft: Draft, warden: Warden, actions: Sequence[Action]) -> None:
    """Say that operators hold a run back: where one has set a control on its key, or a control holds an action."""
    stream = draft.run.stream
    message = ""
    if warden.has_controls and stream.state is not State.CLOSED:
        control = warden.control_of(stream.key)
        held = next((action.gate for action in actions if action.gate_kind is GateKind.CONTROL), "")
        message = f"by {control}" if control is not None else f"until {held}" if held else ""
    if message:
        draft.set_condition(ConditionType.PAUSED, ConditionStatus.TRUE, "Control", message)
    elif stream.condition(ConditionType.PAUSED) is not None:
        draft.clear_condition(ConditionType.PAUSED)
