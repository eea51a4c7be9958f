"""What came back from the proxies, written down: the second of the two transactions around a command."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from controller.domain import answers
from controller.domain.lifecycle import Draft
from controller.domain.model import Cause, Key, Reply, Run, StreamId
from controller.domain.retry import Backoff
from controller.store import dialects, outbox, streams
from controller.store.outbox import Pending


@dataclass(frozen=True, slots=True)
class Answered:
    """A command with its reply. ``stale_token`` is no answer: such a command is postponed, not recorded."""

    pending: Pending
    reply: Reply


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A command whose result is unknown: sent again after the delay."""

    pending: Pending
    error: str
    retry_after: timedelta


def record(
    session: Session, answered: Sequence[Answered], unanswered: Sequence[Unanswered], *, backoff: Backoff
) -> frozenset[Key]:
    """Settle what was answered, postpone what was not; return the keys that need a look.

    A command about a session that belongs to no run is only settled.
    """
    now = dialects.db_now(session)
    runs = streams.load_runs(session, {item.pending.command.stream_id for item in answered})
    drafts: dict[StreamId, Draft] = {}
    for item in answered:
        command = item.pending.command
        run = runs.get(command.stream_id)
        if run is not None:
            draft = drafts.setdefault(command.stream_id, _draft(run, item, now))
            answers.fold(draft, command, item.reply, backoff)
    changes = [change for draft in drafts.values() if (change := draft.change()) is not None]
    streams.save(session, changes, now=now)
    outbox.settle(session, {item.pending.id: item.reply.outcome.value for item in answered}, now=now)
    outbox.postpone(session, [(late.pending, now + late.retry_after, late.error) for late in unanswered])
    return frozenset(item.pending.command.key for item in answered)


def _draft(run: Run, item: Answered, now: datetime) -> Draft:
    command = item.pending.command
    return Draft(run, Cause(f"proxy:{command.proxy_id}", f"{command.kind} answered: {item.reply.outcome}"), now)
