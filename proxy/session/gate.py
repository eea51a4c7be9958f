"""What a viewer who waits for a picture is told: come in, it failed, or it is over. No task, no timer."""

import asyncio
from collections.abc import Callable

from proxy.errors import StartFailedError
from proxy.upstream.ports import RoundFailed


class Gate:
    """Closed while the upstream starts; then open, or refusing for a while."""

    def __init__(self, *, timeout_seconds: float, hold_seconds: float, now: Callable[[], float]) -> None:
        self._timeout_seconds = timeout_seconds
        self._hold_seconds = hold_seconds
        self._now = now
        self._decided = asyncio.Event()
        self._refusal: StartFailedError | None = None
        self._refused_at = 0.0
        self._round_failed: RoundFailed | None = None

    @property
    def is_open(self) -> bool:
        return self._decided.is_set() and self._refusal is None

    def refuses(self, *, for_good: bool) -> bool:
        """Whether viewers are answered with the failure that is known; ``for_good`` until the gate opens or closes."""
        return self._refusal is not None and (for_good or self._now() < self._refused_at + self._hold_seconds)

    def close(self) -> None:
        """Let viewers wait: nothing is known yet."""
        self._refusal = self._round_failed = None
        self._decided.clear()

    def doubt(self) -> None:
        """Let those who come now wait for fresh media, or for the reason why there is none."""
        self._decided.clear()

    def open(self) -> None:
        self._refusal = self._round_failed = None
        self._decided.set()

    def note(self, failed: RoundFailed) -> None:
        """Remember why nothing comes, for those who will have waited in vain."""
        self._round_failed = failed

    def refuse(self) -> str:
        """Answer all who wait, and for a while all who come; return with which reason."""
        self._refusal = self._reason()
        self._refused_at = self._now()
        self._decided.set()
        return self._refusal.reason

    def end(self) -> None:
        """Nobody needs to wait any more."""
        self._decided.set()

    async def passed(self) -> None:
        """Return when the gate is open or ended; raise StartFailedError within the time-out otherwise."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._decided.wait()
        except TimeoutError:
            raise self._reason() from None
        if self._refusal is not None:
            raise self._refusal

    def _reason(self) -> StartFailedError:
        if self._round_failed is not None:
            return StartFailedError(504 if self._round_failed.late else 502, self._round_failed.detail)
        return StartFailedError(504, f"upstream showed no picture within {self._timeout_seconds:g} s")
