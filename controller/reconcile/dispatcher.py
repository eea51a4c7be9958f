"""The outbox, carried to the proxies: one worker for each, so that a dead proxy delays nobody else.

At least once, in order per stream and proxy. The network is asked outside every transaction: read what is due, ask,
write down what came back. A crash anywhere leaves rows that the next start sends again; every command is idempotent.
It works for one term: commands carry the leader's token, and what came back is recorded only while it leads.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from controller.domain.model import CommandKind, Key, ProxyId, ReplyOutcome
from controller.domain.retry import Backoff
from controller.errors import DatabaseError, ProxyUnreachableError
from controller.proxy_client import ProxyClient
from controller.reconcile.observe import Observer
from controller.store import outbox, replies
from controller.store.engine import Database
from controller.store.outbox import Pending
from controller.store.replies import Answered, Unanswered
from controller.store.term import Term

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    batch_max: int = 200
    """Commands read at once for one proxy."""
    concurrency: int = 8
    """Commands under way at once at one proxy."""
    idle_seconds: float = 1.0
    """How long a worker that was not woken waits before it looks for commands whose delay is over."""


class Dispatcher:
    """Sends commands as they become due, and writes down what came back."""

    def __init__(
        self,
        database: Database,
        observer: Observer,
        *,
        term: Term,
        ring: Callable[[Iterable[Key]], None],
        limits: Limits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._database = database
        self._observer = observer
        self._term = term
        self._token_seen = 0
        self._ring = ring
        self._limits = limits or Limits()
        self._backoff = backoff or Backoff(first_seconds=0.25, cap_seconds=10.0)
        self._bells: dict[str, asyncio.Event] = {}
        self.sent = 0
        """Commands answered since start."""

    def wake(self) -> None:
        """Look for commands now."""
        for bell in self._bells.values():
            bell.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            async for client in self._observer.newcomers():
                group.create_task(self._serve(client), name=f"dispatch {client.url}")

    async def _serve(self, client: ProxyClient) -> None:
        bell = self._bells.setdefault(client.url, asyncio.Event())
        while self._observer.is_asked(client):
            bell.clear()
            view = self._observer.view_at(client.url)
            try:
                busy = view is not None and await self._send_due(client, view.proxy_id)
            except DatabaseError as failed:
                log.warning("dispatcher.database_failed", error=str(failed))
                busy = False
            if not busy:
                await self._rest(bell)

    async def _rest(self, bell: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                await bell.wait()
        except TimeoutError:
            return

    async def _send_due(self, client: ProxyClient, proxy_id: ProxyId) -> bool:
        """Send one batch; return whether there may be more to send at once."""
        _, due = await self._database.read(outbox.read_due, self._limits.batch_max, proxy_id)
        if not due:
            return False
        gate = asyncio.Semaphore(self._limits.concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(client, pending, gate), name="send") for pending in due]
        results = [task.result() for task in tasks]
        answered = [result for result in results if isinstance(result, Answered)]
        unanswered = [result for result in results if isinstance(result, Unanswered)]
        self._ring(await self._term.write(replies.record, answered, unanswered, backoff=self._backoff))
        self.sent += len(answered)
        await self._term.rise_above(self._token_seen)
        return bool(answered)

    async def _send(self, client: ProxyClient, pending: Pending, gate: asyncio.Semaphore) -> Answered | Unanswered:
        command = pending.command
        async with gate:
            # Whoever was stopped in between, or waited for the gate, may lead no more.
            self._term.check()
            token = self._term.token
            try:
                reply = await client.send(command, token, moved_to=self._observer.successor_url(command))
            except ProxyUnreachableError as failed:
                return self._postpone(pending, failed.detail)
        line = log.bind(
            key=command.key,
            stream=command.stream_id,
            proxy=command.proxy_id,
            epoch=command.epoch,
            generation=command.generation,
        )
        if reply.outcome is ReplyOutcome.STALE_TOKEN:
            line.warning("command.token_stale", token=token, token_highest=reply.token_highest)
            self._token_seen = max(self._token_seen, reply.token_highest)
            return self._postpone(pending, "stale token")
        event = "session.ensured" if command.kind is CommandKind.ENSURE else "session.stopped"
        line.info(event, outcome=reply.outcome.value, why=command.why, detail=reply.detail)
        return Answered(pending, reply)

    def _postpone(self, pending: Pending, error: str) -> Unanswered:
        delay = self._backoff.delay(pending.attempts, random.random())  # noqa: S311 - jitter, not a secret
        log.warning(
            "command.postponed",
            key=pending.command.key,
            proxy=pending.command.proxy_id,
            kind=pending.command.kind.value,
            attempts=pending.attempts + 1,
            error=error,
        )
        return Unanswered(pending, error, delay)
