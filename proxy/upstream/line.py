"""One attempt at one upstream: waits for a slot, opens it, reads it, notices silence and junk, and says why it ended.

A line belongs to a pull, which decides what becomes of the bytes. Cancelling its task closes the connection.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from proxy.contract import Upstream
from proxy.core.onset import Onset
from proxy.errors import (
    UpstreamAnswerError,
    UpstreamContentError,
    UpstreamEmptyError,
    UpstreamError,
    UpstreamSilentError,
)
from proxy.upstream.beat import listening
from proxy.upstream.items import Quiet, Reader, Remark, Tap, name_of
from proxy.upstream.slots import Slot, Slots

JUNK_BYTES_MAX: Final = 256 * 1024
"""So many bytes of a new connection without one aligned packet are not MPEG-TS."""
JUNK_BYTES_MIN: Final = 2048
"""With fewer, a slow upstream may only not have sent enough yet to be recognised: that is silence."""
HEAD_BYTES: Final = 64
FULL_STATUSES: Final = frozenset({401, 403, 409, 423, 429, 503, 509})
"""Answers of a host that thinks a connection too many is open, perhaps one that has just been closed."""
SETTLE_STEP_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one line waits. All in seconds."""

    slot_seconds: float
    """For a free connection to its host."""
    open_seconds: float
    """From its beginning to the first media byte; or, for a line with an onset, until that has begun."""
    silence_seconds: float
    """For the next, besides the upstream's own rhythm."""


@dataclass(frozen=True, slots=True)
class LineHooks:
    """What the pull is told. ``write`` takes bytes and the loop's time, and returns how many of them were media."""

    on_open: Callable[["Line"], None]
    on_wait: Callable[["Line", str], None]
    write: Callable[["Line", bytes, float], int]
    heed: Callable[["Line", Remark], None]


class Line:
    """See the module. While ``onset`` is set, another line delivers, and what this one brings is held back."""

    def __init__(
        self,
        index: int,
        upstream: Upstream,
        slot: Slot,
        *,
        patience: Patience,
        hooks: LineHooks,
        onset: Onset | None = None,
    ) -> None:
        self.index = index
        self.slot = slot
        self.onset = onset
        self.failure: UpstreamError | None = None
        self.first_media_at: float | None = None
        self.last_media_at: float | None = None
        self.quiet_seconds = 0.0
        self.task: asyncio.Task[None] | None = None
        self._junk = 0
        """Bytes that came before any media."""
        self._head = b""
        self._allowed_seconds = 0.0
        """It may be silent for so long now."""
        self._deadline = 0.0
        """While a tap is drained: when it will have been silent for too long."""
        self._upstream = upstream
        self._patience = patience
        self._hooks = hooks

    @property
    def flowed_seconds(self) -> float:
        if self.first_media_at is None or self.last_media_at is None:
            return 0.0
        return self.last_media_at - self.first_media_at

    @property
    def _is_junk(self) -> bool:
        return self.first_media_at is None and self._junk > JUNK_BYTES_MAX

    @property
    def over(self) -> bool:
        return self.task is not None and self.task.done()

    async def run(self, open_upstream: Callable[[Upstream], Reader], slots: Slots) -> None:
        """Read until it ends; ``failure`` says why then, and is None after a clean end with media."""

        def on_wait(why: str) -> None:
            self._hooks.on_wait(self, why)

        deadline = _now() + self._patience.open_seconds
        try:
            async with slots.hold(self.slot, self._patience.slot_seconds, on_wait):
                await self._read_settled(open_upstream, slots, deadline)
        except UpstreamError as failure:
            self.failure = failure

    async def _read_settled(self, open_upstream: Callable[[Upstream], Reader], slots: Slots, deadline: float) -> None:
        """Read; ask again while the host may not have noticed that the connection before this one was closed."""
        while True:
            try:
                await self._read(open_upstream, deadline)
            except UpstreamAnswerError as answer:
                if answer.status not in FULL_STATUSES or not slots.is_settling(self.slot, _now()):
                    raise
            else:
                return
            await asyncio.sleep(SETTLE_STEP_SECONDS)

    async def _read(self, open_upstream: Callable[[Upstream], Reader], deadline: float) -> None:
        self._allowed_seconds = max(deadline - _now(), 0.0)
        self._hooks.on_open(self)
        try:
            async with (
                asyncio.timeout(self._allowed_seconds) as scope,
                aclosing(open_upstream(self._upstream)) as items,
            ):
                async for item in items:
                    if isinstance(item, Tap):
                        await self._drain(item, scope)
                    elif self._take(item, now := _now()):
                        scope.reschedule(now + self._allowed_seconds)
                    if self._is_junk:
                        break
        except TimeoutError:
            if self.first_media_at is not None or self._junk < JUNK_BYTES_MIN:
                raise UpstreamSilentError(self._allowed_seconds) from None
        if self.first_media_at is None and self._junk:
            raise UpstreamContentError(f"upstream sends {name_of(self._head)}, not MPEG-TS")
        if self.first_media_at is None:
            raise UpstreamEmptyError

    async def _drain(self, tap: Tap, scope: asyncio.Timeout) -> None:
        """Draw at every beat until the tap is dry or gives junk; raise TimeoutError after too long a silence."""
        over = asyncio.get_running_loop().create_future()
        self._deadline = scope.when() or 0.0
        scope.reschedule(None)

        def draw(now: float) -> None:
            try:
                if not over.done() and not self._draw(tap, now):
                    over.set_result(None)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                over.set_exception(error)

        draw(_now())
        with listening(draw):
            await over
        scope.reschedule(self._deadline)

    def _draw(self, tap: Tap, now: float) -> bool:
        """Take what has come since the last time; return whether to come again; or raise TimeoutError."""
        drawn = tap.draw(now)
        if drawn is None:
            return False
        if drawn and self._take(drawn, now):
            self._deadline = now + self._allowed_seconds
        elif now > self._deadline:
            raise TimeoutError
        return not self._is_junk

    def _take(self, item: bytes | Quiet | Remark, now: float) -> bool:
        """Pass on what came; return whether it is a reason to wait for the next."""
        if isinstance(item, Quiet):
            self.quiet_seconds = item.seconds
        elif not isinstance(item, bytes):
            self._hooks.heed(self, item)
        elif self._hooks.write(self, item, now):
            self._note_media(now)
            if self.onset is None:
                self._allowed_seconds = self._patience.silence_seconds + self.quiet_seconds
                return True
        elif self.first_media_at is None:
            self._junk += len(item)
            self._head = self._head or item[:HEAD_BYTES]
        return False

    def _note_media(self, now: float) -> None:
        self.last_media_at = now
        if self.first_media_at is None:
            self.first_media_at = now


def _now() -> float:
    return asyncio.get_running_loop().time()
