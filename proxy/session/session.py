"""One session: at most one pull, one feed, and the viewers of one key.

``Session.run`` is the session's only task. Everything that others call (``enter``, ``leave``, ``stop``, ``replace``,
``tick``) is synchronous: a decision is taken and visible before anybody else runs. When its upstream is open is
written down in ``supply``.

A session never decides to exist: it is made, replaced and stopped by the registry, and holds only its own objects, so
a late teardown can touch nothing of a successor under the same key.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from proxy import contract
from proxy.contract import FinishedReason, Output, SessionSpec, SessionView, UpstreamState, digest
from proxy.core.feed import Feed, Medium
from proxy.errors import NotPublishedError, SessionOverError
from proxy.session.feeds import Feeds
from proxy.session.gate import Gate
from proxy.session.ports import SessionPorts
from proxy.session.report import report
from proxy.session.supply import Supply
from proxy.session.viewers import Crowd, Viewer, dismiss, dismiss_up_to_date
from proxy.upstream.ports import Ending, PullHooks, RoundFailed
from proxy.upstream.publish import Publisher, rank
from proxy.upstream.vitals import Vitals

PLAY_OUT_STEP_SECONDS: Final = 0.1
START_ROUNDS_MAX: Final = 5
"""A session that is to end with its upstream, and is not on demand, finishes when it could not be started so often."""

log = structlog.get_logger(__name__)


class Session:
    """One fence of one key, running until it is stopped or finishes."""

    def __init__(
        self,
        stream_id: str,
        epoch: int,
        generation: int,
        spec: SessionSpec,
        *,
        installation: str = "",
        ports: SessionPorts,
        on_change: Callable[["Session", bool], None],
    ) -> None:
        self.stream_id = stream_id
        self.epoch = epoch
        self.generation = generation
        self.spec = spec
        self.spec_digest = digest(spec)
        self.installation = installation
        self._crowd = Crowd(ports.gauge)
        self.finished_reason: FinishedReason | None = None
        self.vitals = Vitals()
        self.task: asyncio.Task[None] | None = None
        self._ports = ports
        self._on_change = on_change
        self.began = ports.now()
        self._wish = asyncio.Event()  # the upstream is to be open
        self._over = asyncio.Event()
        self._stopped = False
        self._gate = Gate(
            timeout_seconds=ports.limits.start_timeout_seconds,
            hold_seconds=ports.limits.start_hold_seconds,
            now=ports.now,
        )
        self._feeds = Feeds(ports.new_feed, ports.now)
        hooks = PullHooks(
            on_media=self._on_media,
            on_state=self._tell,
            on_round_failed=self._on_round_failed,
            on_recall=self._on_recall,
            new_feed=self._feeds.make,
            on_succession=self._on_succession,
            leaves_nobody=self._leaves_nobody,
        )
        self._supply = Supply(spec, self.vitals, ports=ports, hooks=hooks)
        self._state_told = UpstreamState.IDLE
        if not spec.on_demand:
            self._want()

    # What the outside sees

    def is_foreign(self, stream_id: str, installation: str) -> bool:
        """Whether another installation than its own asks, about another stream than this one."""
        is_known = bool(installation) and bool(self.installation)
        return is_known and installation != self.installation and stream_id != self.stream_id

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def fence(self) -> tuple[int, int]:
        return (self.epoch, self.generation)

    @property
    def feed(self) -> Feed | None:
        """What its viewers are given; None while it is idle."""
        return self._feeds.current

    @property
    def over(self) -> bool:
        """Whether it was stopped or has finished: nobody may enter any more."""
        return self._over.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped: its viewers get their end at once, whatever they have not yet read."""
        return self._stopped

    async def wait_over(self) -> None:
        await self._over.wait()

    @property
    def wanted(self) -> bool:
        return not self.over and self._wish.is_set()

    @property
    def state(self) -> UpstreamState:
        return self.vitals.state_at(self._ports.now(), self._ports.limits.stall_seconds)

    @property
    def viewers(self) -> dict[str, Viewer]:
        return self._crowd.viewers

    @property
    def bytes_out(self) -> int:
        return self._crowd.bytes_sent

    @property
    def moves(self) -> int:
        return self._crowd.moves

    @property
    def resyncs(self) -> int:
        return self._feeds.resyncs

    def view(self) -> SessionView:
        return report(self, self._ports.now(), self._ports.limits.stall_seconds)

    def count(self, protocol: Output) -> int:
        """Return how many watch over it."""
        return self._crowd.count(protocol)

    def viewer_views(self) -> list[contract.Viewer]:
        now = self._ports.now()
        head = self.feed.head if self.feed is not None else 0
        return [viewer.view(self.stream_id, self.key, head=head, now=now) for viewer in self.viewers.values()]

    # Viewers

    def enter(self, viewer: Viewer) -> None:
        """Count the viewer and want the upstream; raise SessionOverError or ViewerLimitError."""
        if self.over:
            raise SessionOverError(self.key)
        self._crowd.enter(viewer, self.spec)
        if not self._is_held():
            self._want()

    def leave(self, viewer: Viewer) -> None:
        """Forget the viewer (again, if need be); the linger starts when the last one is gone."""
        if self._crowd.leave(viewer) and self.spec.on_demand and not self._is_frequented():
            self._unwant()

    def attend(self, publisher: Publisher) -> None:
        """Take what it pushes as the upstream; raise SessionOverError, PublisherPresentError or NotPublishedError."""
        if self.over:
            raise SessionOverError(self.key)
        index = rank(self.spec)
        if index is None:
            raise NotPublishedError(self.key)
        self._supply.desk.seat(publisher)
        if self._is_held():
            self._gate.close()  # what was known was of a stream that nobody pushed
        self._supply.invite(index)
        self._want()

    def depart(self, publisher: Publisher) -> None:
        """Forget the publisher; what nobody watches and nobody pushes any more lingers."""
        self._supply.desk.leave(publisher)
        if self.spec.on_demand and not self._is_frequented():
            self._unwant()

    @property
    def is_started(self) -> bool:
        """Whether a viewer who has entered would be given a picture at once."""
        return not self.over and self._gate.is_open and self.feed is not None and self.feed.joinable

    async def started(self) -> None:
        """Return when a viewer could be given a picture; raise StartFailedError or SessionOverError when it cannot."""
        if not self.over and not self._is_held():
            self._want()
        await self._gate.passed()
        if self.over:
            raise SessionOverError(self.key)

    # The registry's decisions

    def stop(self) -> None:
        """End it now: viewers get their end at once, the upstream is closed within one turn of the loop."""
        self._stopped = True
        self._declare_over()
        dismiss(self.viewers.values())
        if self.task is not None:
            self.task.cancel()

    def replace(self, generation: int, spec: SessionSpec) -> None:
        """Take over a newer generation in place: viewers stay; the pull stays too when the upstreams are the same."""
        self.spec = spec
        self.generation = generation
        self.spec_digest = digest(spec)
        if self._is_held():
            self._gate.close()  # what was known was of the former spec
        for viewer in self.viewers.values():
            if viewer.protocol not in spec.outputs:
                viewer.over.set()
        if self._supply.adopt(spec):
            self.vitals.detail = ""
        elif spec.on_demand and not self._is_frequented():
            self._unwant()
        else:
            self._want()

    def dispose(self) -> None:
        """Free the storage; to be called once the session's task is done, or was never begun."""
        self._feeds.close()

    def tick(self, now: float) -> None:
        """Do what silence calls for; to be called a few times a second."""
        if self.feed is None or self.over:
            return
        try:
            self._tick(self.feed, now)
        except Exception as error:  # noqa: BLE001 - the boundary: one session's fault must not reach the others
            self._fail(error)
            if self.task is not None:
                self.task.cancel()

    def _tick(self, feed: Feed, now: float) -> None:
        limits = self._ports.limits
        self.vitals.sample(now)
        self._crowd.sample(now)
        failing = self.vitals.failing_seconds(now, limits.stall_seconds)
        if self.viewers and feed.joinable and now - feed.newest_at > limits.keepalive_seconds:
            feed.keepalive(now)
        if failing is not None and failing > limits.start_timeout_seconds and self._gate.is_open:
            self._gate.doubt()
        if failing is not None and failing > limits.give_up_seconds and self.spec.on_demand:
            self._refuse()
            self._supply.close()
            dismiss(self.viewers.values())
        if self.state is not self._state_told:
            self._tell()

    # The session's task

    async def run(self) -> None:
        """Pull whenever the upstream is wanted; return when the session has finished and its viewers are gone."""
        structlog.contextvars.bind_contextvars(stream=self.stream_id, key=self.key)
        try:
            while self.finished_reason is None:
                await self._wish.wait()
                ending = await self._supply.run(self._feeds.open(), self._is_needed)
                self._settle(ending)
            await self._play_out()
        except Exception as error:  # noqa: BLE001 - the boundary: one session's fault must not reach the others
            self._fail(error)

    def _settle(self, ending: Ending | None) -> None:
        """After a pull, without an await in between: finish, go on, or become idle."""
        if ending is Ending.UPSTREAM_ENDED:
            self._finish(FinishedReason.UPSTREAM_ENDED, "upstream ended")
        elif ending is Ending.GIVEN_UP and not self.spec.on_demand:
            self._finish(FinishedReason.START_FAILED, self.vitals.detail)
        elif not self._is_needed():
            self._become_idle()

    async def _play_out(self) -> None:
        """Let the viewers of a finished session read what they have not read yet, within bounds."""
        deadline = self._ports.now() + self._ports.limits.finish_seconds
        while self.viewers and self._ports.now() < deadline:
            dismiss_up_to_date(self.viewers.values(), self.feed.head if self.feed is not None else 0)
            await asyncio.sleep(PLAY_OUT_STEP_SECONDS)
        dismiss(self.viewers.values())

    # Wanting the upstream

    def _is_frequented(self) -> bool:
        """Whether somebody watches, or somebody pushes what may be watched."""
        return bool(self.viewers) or self._supply.desk.is_taken

    def _is_needed(self) -> bool:
        return not self.spec.on_demand or (self._is_frequented() and not self._is_held())

    def _is_held(self) -> bool:
        """Whether viewers are to be answered with the failure that is known already."""
        return self._gate.refuses(for_good=not self.spec.on_demand)

    def _want(self) -> None:
        if not self._wish.is_set():
            self._wish.set()
            self.vitals.wanted_since = self._ports.now()
            self._gate.close()
            self._feeds.open()
        self._supply.keep()

    def _unwant(self) -> None:
        """Let the upstream linger if it has delivered; else there is nothing to linger for."""
        linger_seconds = self._ports.limits.linger_seconds if self._gate.is_open else 0.0
        self._supply.linger(self._ports.now() + linger_seconds)

    def _become_idle(self) -> None:
        self._wish.clear()
        self.vitals.rest()
        self._feeds.close()
        if self._gate.is_open:
            self.vitals.detail = ""  # else it says why the last start came to nothing
        if not self._is_held():
            self._gate.close()
        self._tell()

    # What the pull reports

    def _on_media(self) -> None:
        if not self._gate.is_open and self.feed is not None and self.feed.joinable:
            self._gate.open()

    def _leaves_nobody(self, medium: Medium) -> bool:
        return medium is not Medium.MP4 or not self.count(Output.TS)

    def _on_succession(self, feed: Feed) -> None:
        """Another medium goes on: those who cannot follow get their end, and what they have not yet read."""
        self._feeds.succeed(feed)
        if feed.medium is Medium.MP4:
            dismiss(viewer for viewer in self.viewers.values() if viewer.protocol is Output.TS)
        log.info("session.medium_changed", stream=self.stream_id, key=self.key, medium=str(feed.medium))

    def _on_recall(self) -> None:
        """Another session has viewers who wait for the connection that this one lingers on."""
        log.info("session.recalled", stream=self.stream_id, key=self.key)
        self._supply.close()

    def _on_round_failed(self, failed: RoundFailed) -> bool:
        """Answer the waiting viewers when waiting is useless; return whether to give up."""
        self._gate.note(failed)
        has_delivered = failed.delivered or (self.feed is not None and self.feed.joinable)
        if has_delivered:
            return False  # viewers are kept alive, and the controller sees failing_seconds
        if failed.lasting:
            self._refuse()
        if self.spec.on_demand:
            return failed.lasting
        may_give_up = self.spec.on_eof == "end" and rank(self.spec) is None  # a publisher may come at any time
        return may_give_up and failed.rounds >= START_ROUNDS_MAX

    def _refuse(self) -> None:
        reason = self._gate.refuse()
        log.info("session.start_failed", stream=self.stream_id, key=self.key, reason=reason)

    # The end, and bookkeeping

    def _fail(self, error: Exception) -> None:
        log.error("session.failed", stream=self.stream_id, key=self.key, exc_info=error)
        self._finish(FinishedReason.FAILED, f"{type(error).__name__}: {error}")
        dismiss(self.viewers.values())

    def _finish(self, reason: FinishedReason, detail: str) -> None:
        self.finished_reason = reason
        self.vitals.state = UpstreamState.FINISHED
        self.vitals.detail = detail
        self._declare_over()
        self._state_told = UpstreamState.FINISHED
        self._on_change(self, True)
        log.info("session.finished", stream=self.stream_id, key=self.key, reason=reason, detail=detail)

    def _declare_over(self) -> None:
        self._over.set()
        self._gate.end()
        self._supply.desk.dismiss()

    def _tell(self) -> None:
        self._state_told = self.state
        self._on_change(self, False)
