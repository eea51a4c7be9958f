"""The pull: keeps one upstream out of an ordered list open and writes what it sends into a feed.

It fails over down the list, lets bad upstreams alone for ever longer, connects again, and goes back to the preferred
one, for as long as it is awaited; cancelling it closes every connection. It holds two connections only on the way
back: the one that delivers is closed when the preferred one has shown a picture. It knows no viewers: whether the
pull is wanted, and what a failed start means, is the session's business, told to it through its hooks.
"""

import asyncio
from time import time as wall_time
from typing import Final

import structlog

from proxy.contract import SessionSpec, UpstreamState
from proxy.core.feed import Feed, Medium
from proxy.core.onset import Onset
from proxy.core.rota import Rota
from proxy.errors import UpstreamError, UpstreamLoopError
from proxy.upstream.items import Discontinuity, FragmentBegins, FragmentEnds, Losses, Remark
from proxy.upstream.line import Line, LineHooks, Patience
from proxy.upstream.ports import Ending, PullHooks, PullPorts, RoundFailed
from proxy.upstream.slots import Slot
from proxy.upstream.succession import Succession
from proxy.upstream.vitals import Vitals

LOOK_SECONDS_MIN: Final = 0.5
LOOK_SECONDS_MAX: Final = 10.0
"""While a backup delivers, the way back is looked for at least, and at most, so often: the policy may change."""
LOOPING_SCHEMES: Final = frozenset({"demo", "file"})
"""Upstreams that begin anew on purpose."""
WAIT_SECONDS_MIN: Final = 0.01
SPARE_SECONDS: Final = 1.0
"""With others to try, a host that has no free connection but a spare one is waited for so long."""

log = structlog.get_logger(__name__)


class Pull:
    """One run of pulling, over one feed, or, when the medium changes, over one after another."""

    def __init__(
        self, spec: SessionSpec, feed: Feed, vitals: Vitals, rota: Rota, *, ports: PullPorts, hooks: PullHooks
    ) -> None:
        self._on_eof = spec.on_eof
        self._upstreams = spec.upstreams
        self._succession = Succession(spec, feed, hooks)
        self._vitals = vitals
        self._rota = rota
        self._ports = ports
        self._limits = ports.limits
        self._hooks = hooks
        self._line_hooks = LineHooks(self._on_open, self._on_wait, self._write, self._heed)
        self._may_loop = spec.loop == "allow"
        self._spare = False
        self._delivered = False
        self._failures: dict[int, UpstreamError] = {}
        """Of this round."""
        self._active: Line | None = None
        """What it delivers, or is to deliver."""
        self._scout: Line | None = None
        """A better one, tried while the active one delivers."""

    def adopt(self, spec: SessionSpec) -> None:
        """Go by another spec from now on, whose upstreams are the same."""
        self._on_eof = spec.on_eof
        self._may_loop = spec.loop == "allow"
        self._succession.adopt(spec)
        if self._active is not None:
            self._watch_loops(self._active)

    def set_spare(self, *, spare: bool) -> None:
        """Say whether the pull may be called back for one that is watched."""
        self._spare = spare
        if self._active is not None:
            self._ports.slots.set_spare(self._active.slot, spare=spare)

    async def run(self) -> Ending:
        """Pull until cancelled, a clean end that ``on_eof`` makes final, or ``on_round_failed`` returning True."""
        self._rota.begin()
        try:
            async with asyncio.TaskGroup() as lines:
                ending = await self._run(lines)
                _cancel(self._scout)
                return ending
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None  # a fault of one reader: the session's boundary takes it
        finally:
            self._succession.drop()

    @property
    def _feed(self) -> Feed:
        return self._succession.feed

    async def _run(self, lines: asyncio.TaskGroup) -> Ending:
        while True:
            if self._active is None:
                index = self._rota.choose(_now())
                if index is None:
                    await self._wait()
                    continue
                self._active = self._open(lines, index)
            await self._watch(self._active)
            if self._scout is not None and self._scout.over:
                self._end_scout(self._scout)
            if self._active.over:
                ending = self._end(self._active)
                if ending is not None:
                    return ending
                self._promote_scout()
            elif self._scout is None and self._active.first_media_at is not None:
                await self._try_return(lines, self._active)

    async def _wait(self) -> None:
        self._enter(UpstreamState.WAITING, self._vitals.detail)
        await asyncio.sleep(max(self._rota.wait_seconds(_now()), WAIT_SECONDS_MIN))

    async def _watch(self, active: Line) -> None:
        """Return when a line has ended, or when it is time to look for the way back."""
        tasks = {line.task for line in (active, self._scout) if line is not None and line.task is not None}
        may_return = active.index > 0 and self._scout is None
        seconds = self._rota.return_wait_seconds(active.index, _now()) if may_return else None
        timeout = min(max(seconds or 0.0, LOOK_SECONDS_MIN), LOOK_SECONDS_MAX) if may_return else None
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    # Lines

    def _open(self, lines: asyncio.TaskGroup, index: int, *, is_scout: bool = False) -> Line:
        def on_recall() -> None:
            if line is self._scout:
                self._rota.put_off(line.index, _now())
                self._scout = None
                _cancel(line)
            elif self._spare:
                self._hooks.on_recall()

        upstream = self._upstreams[index]
        slot = Slot.of(upstream, on_recall, spare=is_scout or self._spare)
        line = Line(
            index,
            upstream,
            slot,
            patience=self._patience(slot, index, is_scout=is_scout),
            hooks=self._line_hooks,
            onset=Onset() if is_scout else None,
        )
        line.task = lines.create_task(line.run(self._ports.open_upstream, self._ports.slots), name=f"upstream {index}")
        return line

    def _patience(self, slot: Slot, index: int, *, is_scout: bool) -> Patience:
        limits = self._limits
        count = len(self._upstreams)
        opening = limits.open_seconds if is_scout else max(limits.open_seconds / count, limits.open_seconds_min)
        waiting = max(opening - limits.open_seconds_min, 0.0)
        if self._rota.has_other(index, _now()):
            waiting = min(waiting, SPARE_SECONDS) if self._ports.slots.has_spare(slot) else 0.0
        silence = limits.silence_seconds if count == 1 else min(limits.stall_seconds, limits.silence_seconds)
        return Patience(slot_seconds=waiting, open_seconds=opening, silence_seconds=silence)

    def _on_open(self, line: Line) -> None:
        self._vitals.connects += 1
        if line is self._active:
            self._watch_loops(line)
            self._discontinue()
            self._show(line, UpstreamState.CONNECTING, self._vitals.detail)

    def _on_wait(self, line: Line, why: str) -> None:
        if line is self._active:
            self._show(line, UpstreamState.WAITING, why)

    def _heed(self, line: Line, item: Remark) -> None:
        match item:
            case Losses():
                self._vitals.note(item)
            case Discontinuity() if line.onset is not None:
                line.onset = Onset()
            case Discontinuity():
                self._discontinue()
            case FragmentBegins():
                self._begin_fragment(line, item)
            case FragmentEnds():
                self._feed.end_fragment(item.seconds)
                self._succession.aimed = None
                self._on_media()

    def _begin_fragment(self, line: Line, item: FragmentBegins) -> None:
        """Every fragment can be begun with, so nothing of one is held back."""
        if line.onset is not None:
            self._succession.check(Medium.MP4)
            self._change_over(line)
            self._discontinue()
        self._aim(line, Medium.MP4)
        self._feed.begin_fragment(item.initialisation, wall_time(), target_seconds=item.target_seconds)

    def _aim(self, line: Line, medium: Medium) -> None:
        """What comes next is of this medium."""
        before = self._feed
        self._succession.aim(medium)
        if self._feed is not before:
            self._watch_loops(line)

    def _discontinue(self) -> None:
        self._feed.discontinue()
        self._succession.aimed = None

    def _write(self, line: Line, chunk: bytes, now: float) -> int:
        if line.onset is not None:
            taken = line.onset.push(chunk, now, wall_time())
            if line.onset.begun is not None:
                self._take_over(line, line.onset, now)
        else:
            if self._succession.aimed is None:
                self._aim(line, Medium.TS)
            taken = self._feed.write(chunk, now, wall_time())
            self._leave_loop(line, now)
        if taken:
            self._vitals.bytes_in += len(chunk)
            if line.onset is None:
                self._count(line, now)
        return taken

    def _leave_loop(self, line: Line, now: float) -> None:
        """Go on to another upstream, if there is one, when this one plays the same pictures again and again."""
        loop = self._feed.loops.found if self._feed.loops is not None else None
        if loop is not None and loop.upstream_index == line.index and self._rota.has_other(line.index, now):
            raise UpstreamLoopError(loop.seconds)

    def _watch_loops(self, line: Line) -> None:
        """Look for loops, unless this upstream may play the same pictures again."""
        may_loop = self._may_loop or self._upstreams[line.index].url.partition(":")[0].lower() in LOOPING_SCHEMES
        self._feed.watch_loops(None if may_loop else line.index)

    def _take_over(self, line: Line, onset: Onset, now: float) -> None:
        self._change_over(line)
        self._aim(line, Medium.TS)
        self._feed.take_over(onset, now, wall_time())

    def _change_over(self, line: Line) -> None:
        """A better one has shown a picture: from now on it delivers, and the other one is closed."""
        if line is self._scout:
            former, self._active, self._scout = self._active, line, None
            _cancel(former)
            log.info("upstream.returned", upstream_index=line.index, instead_of=former.index if former else None)
        line.onset = None
        self._vitals.upstream_index = line.index
        self._rota.delivers(line.index)
        self._ports.slots.set_spare(line.slot, spare=self._spare)
        self._watch_loops(line)

    def _count(self, line: Line, now: float) -> None:
        self._vitals.quiet_seconds = line.quiet_seconds
        self._vitals.last_media_at = now
        if self._vitals.state is not UpstreamState.FLOWING:
            self._delivered = True
            self._succession.starved = False
            self._rota.delivers(line.index)
            self._enter(UpstreamState.FLOWING, "")
        self._on_media()

    def _on_media(self) -> None:
        self._succession.settle()
        self._hooks.on_media()

    # Ends

    def _end(self, line: Line) -> Ending | None:
        """Note that the active line ended; return an ending if the pull is to end with it."""
        detail = self._note_end(line)
        self._vitals.detail = detail
        if line.failure is None and self._on_eof == "end":
            return Ending.UPSTREAM_ENDED
        if self._rota.is_steady(line.flowed_seconds):
            self._failures.clear()
        elif line.failure is not None:
            self._failures.pop(line.index, None)
            self._failures[line.index] = line.failure
        is_round_over = self._rota.ended(
            line.index,
            _now(),
            flowed_seconds=line.flowed_seconds,
            detail=detail,
            loops=isinstance(line.failure, UpstreamLoopError),
        )
        if not is_round_over:
            return None
        self._succession.starved = True
        failures, self._failures = list(self._failures.values()), {}
        return Ending.GIVEN_UP if failures and self._is_hopeless(failures) else None

    def _end_scout(self, line: Line) -> None:
        self._scout = None
        self._rota.ended(line.index, _now(), flowed_seconds=0.0, detail=self._note_end(line))

    def _promote_scout(self) -> None:
        """The one that delivered has ended: the better one, whose picture is still awaited, is the one to wait for."""
        self._active, self._scout = self._scout, None
        if self._active is not None:
            self._ports.slots.set_spare(self._active.slot, spare=self._spare)
            self._show(self._active, UpstreamState.CONNECTING, self._vitals.detail)

    @staticmethod
    def _note_end(line: Line) -> str:
        detail = line.failure.detail if line.failure else "upstream ended"
        flowed = round(line.flowed_seconds, 1)
        log.info("upstream.closed", upstream_index=line.index, detail=detail, flowed_seconds=flowed)
        return detail

    def _is_hopeless(self, failures: list[UpstreamError]) -> bool:
        failed = RoundFailed(
            rounds=self._rota.rounds,
            delivered=self._delivered,
            lasting=all(failure.lasting for failure in failures),
            late=failures[-1].late,
            detail=failures[-1].detail,
        )
        return self._hooks.on_round_failed(failed)

    # The way back

    async def _try_return(self, lines: asyncio.TaskGroup, active: Line) -> None:
        """Try a better one, if one is due: beside the one that delivers, or instead of it where two are forbidden."""
        index = None if self._spare else self._rota.return_to(active.index, _now())
        if index is None:
            return
        slot = Slot.of(self._upstreams[index], lambda: None)
        if self._ports.slots.has_room(slot):
            self._rota.returning(index)
            self._scout = self._open(lines, index, is_scout=True)
        elif self._ports.slots.has_room(slot, without=active.slot):
            self._rota.returning(index)
            log.info("upstream.returning", upstream_index=index, instead_of=active.index)
            await self._close(active)
            self._active = self._open(lines, index)
        else:
            self._rota.put_off(index, _now())

    @staticmethod
    async def _close(line: Line) -> None:
        _cancel(line)
        if line.task is not None:
            await asyncio.wait([line.task])

    # What is shown

    def _show(self, line: Line, state: UpstreamState, detail: str) -> None:
        self._vitals.upstream_index = line.index
        self._vitals.quiet_seconds = line.quiet_seconds
        self._enter(state, detail)

    def _enter(self, state: UpstreamState, detail: str) -> None:
        self._vitals.detail = detail
        if self._vitals.state is not state:
            self._vitals.state = state
            self._hooks.on_state()


def _cancel(line: Line | None) -> None:
    if line is not None and line.task is not None:
        line.task.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
