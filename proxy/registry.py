"""All sessions of this proxy, fenced by key; the owner of their TaskGroup.

Every decision (``ensure``, ``stop``) is synchronous: between looking at the fence and changing the table nobody else
runs. What a stopped session still has to tear down runs later in its own task, which holds only its own objects.

Invariants: at most one session a key; its fence is above the key's tombstone; fences of a key only rise while either
is remembered; what another installation has is left alone. Nothing survives the process: its boot id says so.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar
from uuid import uuid4

import structlog

from proxy import contract
from proxy.contract import EnsureOutcome, EnsureReply, EnsureRequest, StopOutcome, StopReply, StopRequest
from proxy.errors import SpecRefusedError
from proxy.session import Session, SessionPorts

TOMBSTONE_SECONDS: Final = 600.0
TOMBSTONES_MAX: Final = 100_000
TICK_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)

Fence = tuple[int, int]
Guard = Literal["wrong_boot", "stale_token"]
Listener = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is; the boot id is new with every start."""

    proxy_id: str
    public_url: str
    boot_id: str

    @staticmethod
    def fresh(proxy_id: str, public_url: str) -> "Identity":
        return Identity(proxy_id, public_url.rstrip("/"), uuid4().hex)


OutcomeT = TypeVar("OutcomeT", EnsureOutcome, StopOutcome)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[OutcomeT]):
    """A decision; ``held`` is the fence that stood against it."""

    outcome: OutcomeT
    detail: str = ""
    held: Fence | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The highest fence of a key that was stopped here."""

    fence: Fence
    at: float
    ran: bool
    """Whether anything ran; if nothing did, viewers were never served under this key."""
    moved_to: str = ""
    """Where the key runs instead; empty when nobody said so."""


@dataclass(slots=True)
class Totals:
    """What all sessions did since the start, those that are gone included. They only rise."""

    bytes_in: int = 0
    bytes_out: int = 0
    connects: int = 0
    resyncs: int = 0
    moves: int = 0
    datagrams_lost: int = 0

    def add(self, session: Session) -> None:
        self.bytes_in += session.vitals.bytes_in
        self.bytes_out += session.bytes_out
        self.connects += session.vitals.connects
        self.resyncs += session.resyncs
        self.moves += session.moves
        self.datagrams_lost += session.vitals.datagrams_lost


class Registry:
    """``admit`` raises SpecRefusedError for a spec that this proxy cannot or may not pull."""

    def __init__(
        self,
        identity: Identity,
        ports: SessionPorts,
        *,
        sessions_max: int,
        admit: Callable[[contract.SessionSpec], None],
    ) -> None:
        self.identity = identity
        self.sequence = 0
        self.token_highest = 0
        self.synced = False
        self.draining = False
        self._ports = ports
        self._sessions_max = sessions_max
        self._admit = admit
        self._sessions: dict[str, Session] = {}
        self._tombstones: OrderedDict[str, Tombstone] = OrderedDict()
        self._listeners: set[Listener] = set()
        self._totals_of_the_gone = Totals()
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    # The long-lived task

    async def run(self) -> None:
        """Own the sessions' tasks, and tick them, until ``close``; return when all of them are torn down."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._closing.is_set():
                self._tick()
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._closing.wait()
                except TimeoutError:
                    continue
        self._group = None

    def close(self) -> None:
        """Refuse what comes, stop every session at once and let ``run`` return."""
        self.draining = True
        for session in list(self._sessions.values()):
            self._remove(session, session.fence, "shutdown")
        self._closing.set()

    def _tick(self) -> None:
        now = self._ports.now()
        for session in self._sessions.values():
            session.tick(now)
        while self._tombstones:
            key, tombstone = next(iter(self._tombstones.items()))
            if now - tombstone.at < TOMBSTONE_SECONDS and len(self._tombstones) <= TOMBSTONES_MAX:
                break
            del self._tombstones[key]

    # Looking

    def get(self, key: str) -> Session | None:
        return self._sessions.get(key)

    def sessions(self) -> Collection[Session]:
        return self._sessions.values()

    def tombstone(self, key: str) -> Literal["recent"] | None:
        """Say whether something was stopped under this key within the last ten minutes."""
        tombstone = self._fresh_tombstone(key)
        return "recent" if tombstone is not None and tombstone.ran else None

    def moved_to(self, key: str) -> str:
        """Return the address of the proxy that a stop within the last ten minutes named; empty for none."""
        tombstone = self._fresh_tombstone(key)
        return tombstone.moved_to if tombstone is not None else ""

    def listing(self) -> contract.SessionList:
        identity = self.identity
        return contract.SessionList(
            proxy_id=identity.proxy_id,
            boot_id=identity.boot_id,
            sequence=self.sequence,
            public_url=identity.public_url,
            token_highest=self.token_highest,
            synced=self.synced,
            draining=self.draining,
            sessions_max=self._sessions_max,
            sessions=tuple(session.view() for session in self._sessions.values()),
        )

    def viewers(self) -> contract.ViewerList:
        items = tuple(view for session in self._sessions.values() for view in session.viewer_views())
        return contract.ViewerList(proxy_id=self.identity.proxy_id, boot_id=self.identity.boot_id, items=items)

    def totals(self) -> Totals:
        totals = replace(self._totals_of_the_gone)
        for session in self._sessions.values():
            totals.add(session)
        return totals

    def kick(self, viewer_id: str) -> bool:
        """Send one viewer away; return whether it was here."""
        for session in self._sessions.values():
            viewer = session.viewers.get(viewer_id)
            if viewer is not None:
                viewer.over.set()
                return True
        return False

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the key of whatever changes; return how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    # Commands

    def ensure(self, stream_id: str, request: EnsureRequest) -> EnsureReply:
        """Run exactly this at this fence, or say why not; nothing has changed then."""
        verdict = self._decide_ensure(stream_id, request)
        outcome, detail = verdict.outcome, verdict.detail
        log.info("session.ensured", stream=stream_id, key=request.spec.key, outcome=outcome.value, detail=detail)
        return EnsureReply(
            proxy_id=self.identity.proxy_id,
            boot_id=self.identity.boot_id,
            sequence=self.sequence,
            token_highest=self.token_highest,
            held_epoch=verdict.held[0] if verdict.held else None,
            held_generation=verdict.held[1] if verdict.held else None,
            outcome=outcome,
            detail=detail,
        )

    def stop(self, stream_id: str, request: StopRequest) -> StopReply:
        """Stop what runs under the key at or below the fence, and remember the fence."""
        verdict = self._decide_stop(stream_id, request)
        outcome, detail = verdict.outcome, verdict.detail
        log.info("session.stop_answered", stream=stream_id, key=request.key, outcome=outcome.value, detail=detail)
        return StopReply(
            proxy_id=self.identity.proxy_id,
            boot_id=self.identity.boot_id,
            sequence=self.sequence,
            token_highest=self.token_highest,
            held_epoch=verdict.held[0] if verdict.held else None,
            held_generation=verdict.held[1] if verdict.held else None,
            outcome=outcome,
            detail=detail,
        )

    def mark_synced(self, request: contract.SyncedRequest) -> tuple[Guard | None, contract.CommandReply]:
        """Note that a controller has said all that should run here; return what stood against it, and the reply."""
        guard = self._guard(request.boot_id, request.token)
        self.synced = self.synced or guard is None
        reply = contract.CommandReply(
            proxy_id=self.identity.proxy_id,
            boot_id=self.identity.boot_id,
            sequence=self.sequence,
            token_highest=self.token_highest,
            detail=guard or "",
        )
        return guard, reply

    # Decisions: no await below this line

    def _guard(self, boot_id: str, token: int) -> Guard | None:
        if boot_id != self.identity.boot_id:
            return "wrong_boot"
        if token < self.token_highest:
            return "stale_token"
        self.token_highest = token
        return None

    def _decide_ensure(self, stream_id: str, request: EnsureRequest) -> Verdict[EnsureOutcome]:
        guard = self._guard(request.boot_id, request.token)
        if guard is not None:
            return Verdict(EnsureOutcome(guard))
        key, fence = request.spec.key, (request.epoch, request.generation)
        current = self._sessions.get(key)
        if current is not None and current.is_foreign(stream_id, request.installation):
            return Verdict(EnsureOutcome.REFUSED, f"installation {current.installation} runs this key here")
        tombstone = self._fresh_tombstone(key)
        if tombstone is not None and fence <= tombstone.fence:
            return Verdict(EnsureOutcome.NEWER_EXISTS, f"stopped at {_words(tombstone.fence)}", tombstone.fence)
        if current is not None and fence < current.fence:
            return Verdict(EnsureOutcome.NEWER_EXISTS, f"runs at {_words(current.fence)}", current.fence)
        if current is not None and fence == current.fence:
            return self._compare(current, stream_id, request.spec)
        try:
            self._check_admission(request.spec, current)
        except SpecRefusedError as refusal:
            return Verdict(EnsureOutcome.REFUSED, refusal.reason)
        if current is None or current.epoch != request.epoch or current.stream_id != stream_id:
            self._start(stream_id, request, instead_of=current)
            return Verdict(EnsureOutcome.STARTED)
        if current.over:  # it has finished: nothing is left that could be taken over
            self._start(stream_id, request, instead_of=current)
        else:
            current.replace(request.generation, request.spec)
            current.installation = request.installation
            self._changed(key)
        return Verdict(EnsureOutcome.REPLACED)

    @staticmethod
    def _compare(current: Session, stream_id: str, spec: contract.SessionSpec) -> Verdict[EnsureOutcome]:
        if current.stream_id != stream_id:
            return Verdict(EnsureOutcome.SPEC_CONFLICT, f"this fence belongs to stream {current.stream_id}")
        if current.spec_digest != contract.digest(spec):
            return Verdict(EnsureOutcome.SPEC_CONFLICT, "another spec runs at this fence")
        return Verdict(EnsureOutcome.UNCHANGED)

    def _check_admission(self, spec: contract.SessionSpec, current: Session | None) -> None:
        if self.draining or self._group is None:
            raise SpecRefusedError("this proxy is draining")
        if current is None and len(self._sessions) >= self._sessions_max:
            raise SpecRefusedError(f"this proxy runs {self._sessions_max} sessions already")
        self._admit(spec)

    def _start(self, stream_id: str, request: EnsureRequest, *, instead_of: Session | None) -> None:
        assert self._group is not None  # _check_admission has seen it
        session = Session(
            stream_id,
            request.epoch,
            request.generation,
            request.spec,
            installation=request.installation,
            ports=self._ports,
            on_change=self._on_session_change,
        )
        if instead_of is not None:
            self._remove(instead_of, None, "superseded")
        self._sessions[session.key] = session
        session.task = self._group.create_task(session.run(), name=f"session {session.key}")
        session.task.add_done_callback(lambda _task: session.dispose())
        self._changed(session.key)

    def _decide_stop(self, stream_id: str, request: StopRequest) -> Verdict[StopOutcome]:
        guard = self._guard(request.boot_id, request.token)
        if guard is not None:
            return Verdict(StopOutcome(guard))
        fence = (request.epoch, request.generation)
        current = self._sessions.get(request.key)
        if current is None:
            self._bury(request.key, fence, ran=False, moved_to=request.moved_to)
            return Verdict(StopOutcome.NOT_FOUND)
        if current.is_foreign(stream_id, request.installation):
            return Verdict(StopOutcome.NOT_FOUND, f"installation {current.installation} runs this key here")
        if current.fence > fence:
            return Verdict(StopOutcome.NEWER_EXISTS, f"runs at {_words(current.fence)}", current.fence)
        if current.fence == fence and current.stream_id != stream_id:
            # Fences of one key are unique to a stream. If a controller broke that, obeying would end another stream,
            # and a tombstone here would refuse the running one's repeats.
            return Verdict(StopOutcome.NOT_FOUND, f"this fence belongs to stream {current.stream_id}")
        self._remove(current, fence, "commanded", moved_to=request.moved_to)
        return Verdict(StopOutcome.STOPPED)

    def _remove(self, session: Session, fence: Fence | None, cause: str, *, moved_to: str = "") -> None:
        """Take it off the table, leave a tombstone unless a successor takes the key, and let it tear itself down."""
        del self._sessions[session.key]
        if fence is not None:
            self._bury(session.key, fence, ran=True, moved_to=moved_to)
        session.stop()
        self._totals_of_the_gone.add(session)
        log.info(
            "session.stopped",
            stream=session.stream_id,
            key=session.key,
            cause=cause,
            bytes_in=session.vitals.bytes_in,
            bytes_out=session.bytes_out,
        )
        self._changed(session.key)

    def _bury(self, key: str, fence: Fence, *, ran: bool, moved_to: str = "") -> None:
        before = self._tombstones.pop(key, None)
        if before is not None and self._is_fresh(before):
            # A stop that is repeated, or older, may have forgotten where to; one that is newer has not.
            moved_to = moved_to or (before.moved_to if fence <= before.fence else "")
            fence, ran = max(fence, before.fence), ran or before.ran
        self._tombstones[key] = Tombstone(fence, self._ports.now(), ran, moved_to)

    def _fresh_tombstone(self, key: str) -> Tombstone | None:
        tombstone = self._tombstones.get(key)
        return tombstone if tombstone is not None and self._is_fresh(tombstone) else None

    def _is_fresh(self, tombstone: Tombstone) -> bool:
        return self._ports.now() - tombstone.at < TOMBSTONE_SECONDS

    def _on_session_change(self, session: Session, set_changed: bool) -> None:
        if self._sessions.get(session.key) is not session:
            return  # a late word from one that was stopped
        if set_changed:
            self._changed(session.key)
        else:
            self._announce(session.key)

    def _changed(self, key: str) -> None:
        self.sequence += 1
        self._announce(key)

    def _announce(self, key: str) -> None:
        for listener in tuple(self._listeners):
            listener(key)


def _words(fence: Fence) -> str:
    return f"epoch {fence[0]}, generation {fence[1]}"
