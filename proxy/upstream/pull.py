"""The pull: keeps one upstream out of an ordered list open and writes what it sends into a feed.

It opens, notices silence and junk, fails over down the list, backs off with jitter and connects again, for as long as
it is awaited; cancelling it closes the connection. It never holds two connections. It knows no viewers: whether the
pull is wanted, and what a failed start means, is the session's business, told to it through ``on_round_failed``.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, auto
from time import time as wall_time
from typing import Final

import structlog

from proxy.contract import SessionSpec, Upstream, UpstreamState
from proxy.core.feed import Feed
from proxy.errors import UpstreamContentError, UpstreamEmptyError, UpstreamError, UpstreamSilentError
from proxy.upstream.items import Discontinuity, FragmentBegins, FragmentEnds, Losses, Quiet, Reader, name_of
from proxy.upstream.vitals import Vitals

JUNK_BYTES_MAX: Final = 256 * 1024
"""So many bytes of a new connection without one aligned packet are not MPEG-TS."""
JUNK_BYTES_MIN: Final = 2048
"""With fewer, a slow upstream may only not have sent enough yet to be recognised: that is silence."""
HEAD_BYTES: Final = 64

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PullLimits:
    """All in seconds."""

    open_seconds: float = 9.0
    """For the first media byte, over all upstreams of the list together."""
    open_seconds_min: float = 2.0
    """For the first media byte of one upstream, however long the list is."""
    silence_seconds: float = 15.0
    """A connection that sends no media for so long is closed."""
    steady_seconds: float = 5.0
    """An upstream that delivered for so long is worth connecting to again before its successor is tried."""
    backoff_min: float = 0.5
    backoff_max: float = 15.0


class Ending(Enum):
    """Why a pull returned."""

    UPSTREAM_ENDED = auto()
    GIVEN_UP = auto()


@dataclass(frozen=True, slots=True)
class RoundFailed:
    """Every upstream of the list failed once more, without a steady delivery in between."""

    rounds: int
    delivered: bool
    """Whether this pull has ever delivered a media byte."""
    lasting: bool
    """Whether all of them failed in a way that waiting will hardly mend."""
    late: bool
    """Whether the last of them was silent rather than wrong."""
    detail: str


def backoff_seconds(round_number: int, limits: PullLimits, jitter: float) -> float:
    """Return the delay before the next round; ``jitter`` in [0, 1) takes up to half of it away."""
    full = min(limits.backoff_max, limits.backoff_min * 2.0 ** min(round_number, 16))
    return full * (1.0 - jitter / 2)


class Pull:
    """One run of pulling, over one feed. ``on_media`` is called for every chunk with media, so it must be cheap."""

    def __init__(
        self,
        spec: SessionSpec,
        feed: Feed,
        vitals: Vitals,
        *,
        open_upstream: Callable[[Upstream], Reader],
        limits: PullLimits,
        on_media: Callable[[], None],
        on_state: Callable[[], None],
        on_round_failed: Callable[[RoundFailed], bool],
    ) -> None:
        self.on_eof = spec.on_eof
        self._upstreams = spec.upstreams
        self._feed = feed
        self._vitals = vitals
        self._open_upstream = open_upstream
        self._limits = limits
        self._on_media = on_media
        self._on_state = on_state
        self._on_round_failed = on_round_failed
        self._delivered = False
        self._first_media_at: float | None = None  # of the present attempt

    async def run(self) -> Ending:
        """Pull until cancelled, a clean end that ``on_eof`` makes final, or ``on_round_failed`` returning True."""
        index, rounds = 0, 0
        failures: list[UpstreamError] = []
        while True:
            flowed_seconds, failure = await self._attempt(index)
            if failure is None and self.on_eof == "end":
                return Ending.UPSTREAM_ENDED
            if flowed_seconds >= self._limits.steady_seconds:
                rounds, failures = 0, []
            else:
                failures += [failure] if failure else []
                index = (index + 1) % len(self._upstreams)
                if index != 0:
                    continue
                rounds += 1
                if self._is_hopeless(rounds, failures):
                    return Ending.GIVEN_UP
                failures = []
            await self._wait(rounds)

    def _is_hopeless(self, rounds: int, failures: list[UpstreamError]) -> bool:
        if not failures:
            return False
        failed = RoundFailed(
            rounds=rounds,
            delivered=self._delivered,
            lasting=all(failure.lasting for failure in failures),
            late=failures[-1].late,
            detail=failures[-1].detail,
        )
        return self._on_round_failed(failed)

    async def _wait(self, rounds: int) -> None:
        self._enter(UpstreamState.WAITING, self._vitals.detail)
        jitter = random.random()  # noqa: S311 - spreads reconnects, guards nothing
        await asyncio.sleep(backoff_seconds(max(rounds - 1, 0), self._limits, jitter))

    async def _attempt(self, index: int) -> tuple[float, UpstreamError | None]:
        """Return for how long media flowed, and what ended it; None for a clean end after media."""
        self._vitals.upstream_index = index
        self._vitals.connects += 1
        self._vitals.quiet_seconds = 0.0
        self._first_media_at = None
        self._enter(UpstreamState.CONNECTING, self._vitals.detail)
        failure: UpstreamError | None = None
        try:
            await self._read(self._upstreams[index])
        except UpstreamError as error:
            failure = error
        detail = failure.detail if failure else "upstream ended"
        flowed_seconds = self._flowed_seconds()
        self._vitals.detail = detail
        log.info("upstream.closed", upstream_index=index, detail=detail, flowed_seconds=round(flowed_seconds, 1))
        return flowed_seconds, failure

    def _flowed_seconds(self) -> float:
        if self._first_media_at is None or self._vitals.last_media_at is None:
            return 0.0
        return self._vitals.last_media_at - self._first_media_at

    async def _read(self, upstream: Upstream) -> None:
        patience = max(self._limits.open_seconds / len(self._upstreams), self._limits.open_seconds_min)
        head = b""
        junk = 0
        now = asyncio.get_running_loop().time
        self._feed.discontinue()
        try:
            async with asyncio.timeout(patience) as scope, aclosing(self._open_upstream(upstream)) as items:
                async for item in items:
                    if not isinstance(item, bytes):
                        self._heed(item, wall_time())
                    elif self._feed.write(item, now(), wall_time()):
                        patience = self._limits.silence_seconds + self._vitals.quiet_seconds
                        scope.reschedule(now() + patience)
                        self._count(len(item), now())
                    elif self._first_media_at is None:
                        junk += len(item)
                        head = head or item[:HEAD_BYTES]
                        if junk > JUNK_BYTES_MAX:
                            break
        except TimeoutError:
            if self._first_media_at is not None or junk < JUNK_BYTES_MIN:
                raise UpstreamSilentError(patience) from None
        if self._first_media_at is None:
            raise UpstreamContentError(f"upstream sends {name_of(head)}, not MPEG-TS") if junk else UpstreamEmptyError

    def _heed(self, item: Discontinuity | Quiet | Losses | FragmentBegins | FragmentEnds, wall: float) -> None:
        match item:
            case Discontinuity():
                self._feed.discontinue()
            case Quiet():
                self._vitals.quiet_seconds = item.seconds
            case Losses():
                self._vitals.note(item)
            case FragmentBegins():
                self._feed.begin_fragment(item.initialisation, wall)
            case FragmentEnds():
                self._feed.end_fragment(item.seconds)
                self._on_media()

    def _count(self, size: int, now: float) -> None:
        self._vitals.bytes_in += size
        self._vitals.last_media_at = now
        if self._first_media_at is None:
            self._first_media_at = now
            self._delivered = True
            self._enter(UpstreamState.FLOWING, "")
        self._on_media()

    def _enter(self, state: UpstreamState, detail: str) -> None:
        self._vitals.detail = detail
        if self._vitals.state is not state:
            self._vitals.state = state
            self._on_state()
