"""What a proxy's answer to a command means for the run it was about.

A reply alone never makes CLOSED and never makes LIVE: it only says from which list on the proxy's word counts.
"""

from controller.domain.lifecycle import Draft
from controller.domain.model import (
    Command,
    CommandKind,
    ConditionStatus,
    ConditionType,
    PlacementState,
    Reply,
    ReplyOutcome,
)
from controller.domain.retry import Backoff


def fold(draft: Draft, command: Command, reply: Reply, backoff: Backoff) -> None:
    """Fold a reply into the run of its command. ``stale_token`` is not an answer: the command is sent again."""
    assert reply.outcome is not ReplyOutcome.STALE_TOKEN
    placement = draft.run.placement(command.generation)
    if placement is None or (placement.proxy_id, placement.boot_id) != (command.proxy_id, command.boot_id):
        # An orphan of that generation, on another proxy: its proxy's sequence says nothing about this placement.
        return
    if command.kind is CommandKind.STOP:
        _fold_stop(draft, command, reply)
    elif placement.state.is_wanted:
        _fold_ensure(draft, command, reply, backoff)
    elif reply.outcome is not ReplyOutcome.WRONG_BOOT:
        draft.mark_replied(command.generation, reply.sequence, to_stop=False)


def _fold_stop(draft: Draft, command: Command, reply: Reply) -> None:
    if reply.outcome is ReplyOutcome.WRONG_BOOT:
        # The process it ran in is no more. The next list says so with its boot_id.
        return
    draft.mark_replied(command.generation, reply.sequence, to_stop=True)


def _fold_ensure(draft: Draft, command: Command, reply: Reply, backoff: Backoff) -> None:
    match reply.outcome:
        case ReplyOutcome.STARTED | ReplyOutcome.REPLACED | ReplyOutcome.UNCHANGED:
            draft.mark_replied(command.generation, reply.sequence, to_stop=False)
            return
        case ReplyOutcome.NEWER_EXISTS if _ratchet(draft, reply):
            pass  # the next generation is above what the proxy knows
        case ReplyOutcome.NEWER_EXISTS | ReplyOutcome.REFUSED:
            draft.count_failure(backoff.delay(draft.run.stream.failures))
        case _:
            pass
    placement = draft.run.placement(command.generation)
    if placement is not None and placement.state is PlacementState.REQUESTED:
        _give_up(draft, command, reply)


def _give_up(draft: Draft, command: Command, reply: Reply) -> None:
    if reply.outcome is ReplyOutcome.SPEC_CONFLICT:
        # Something runs there at this very fence: the placement is over, and not gone before a list says so.
        draft.mark_stopping(command.generation)
    else:
        # It does not run there and, by its fence or its boot, never will.
        draft.mark_gone(command.generation)
    message = f"proxy {command.proxy_id}: {reply.detail or reply.outcome}"
    draft.set_condition(ConditionType.PLACED, ConditionStatus.FALSE, _REASONS[reply.outcome], message)


def _ratchet(draft: Draft, reply: Reply) -> bool:
    """Go on above the generation the proxy holds; return whether that will help."""
    if reply.held_epoch != draft.run.stream.epoch or reply.held_generation is None:
        return False
    draft.ratchet_generation(reply.held_generation)
    return True


_REASONS = {
    ReplyOutcome.SPEC_CONFLICT: "SpecConflict",
    ReplyOutcome.NEWER_EXISTS: "NewerExists",
    ReplyOutcome.WRONG_BOOT: "ProxyRestarted",
    ReplyOutcome.REFUSED: "Refused",
    ReplyOutcome.NOT_FOUND: "NotFound",
    ReplyOutcome.STOPPED: "Stopped",
}
