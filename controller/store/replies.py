"""Take a proxy's answer to a command into the database."""

from datetime import datetime

from sqlalchemy.orm import Session

from controller.domain import answers
from controller.domain.lifecycle import Draft
from controller.domain.model import Cause, Reply
from controller.domain.retry import Backoff
from controller.store import outbox, streams
from controller.store.outbox import Pending


def record(session: Session, pending: Pending, reply: Reply, *, backoff: Backoff, now: datetime) -> None:
    """Fold a reply into the run of its command and take the command off the queue, in one transaction.

    ``stale_token`` is no answer: such a command is postponed, not recorded. A command about a session that belongs to
    no run is only settled.
    """
    command = pending.command
    run = streams.load_runs(session, [command.stream_id]).get(command.stream_id)
    if run is not None:
        draft = Draft(run, Cause(f"proxy:{command.proxy_id}", f"{command.kind} answered: {reply.outcome}"), now)
        answers.fold(draft, command, reply, backoff)
        change = draft.change()
        streams.save(session, [change] if change else [], now=now)
    outbox.settle(session, pending.id, now=now, outcome=reply.outcome)
