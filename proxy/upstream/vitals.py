"""How the pulling of one session goes: plain numbers that the pull writes and the session reads. No I/O, no clock."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from proxy.contract import UpstreamState
from proxy.upstream.items import Losses

BITRATE_SAMPLES: Final = 9
"""Samples of the byte counter, one a tick: the bitrate is the mean between the first and the last."""


@dataclass(slots=True)
class Vitals:
    """One session's, over all its pulls. Times are loop time."""

    state: UpstreamState = UpstreamState.IDLE
    detail: str = ""
    upstream_index: int = 0
    connects: int = 0
    bytes_in: int = 0
    datagrams_lost: int = 0
    datagrams_reordered: int = 0
    wanted_since: float | None = None
    """Since when the upstream is to be open without a break; None while it is not."""
    last_media_at: float | None = None
    quiet_seconds: float = 0.0
    """Silences of so long are this upstream's rhythm."""
    _samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=BITRATE_SAMPLES))

    def state_at(self, now: float, stall_seconds: float) -> UpstreamState:
        """Return the state, where flowing without a byte for too long is stalled."""
        if self.state is UpstreamState.FLOWING and self.is_silent(now, stall_seconds):
            return UpstreamState.STALLED
        return self.state

    def is_silent(self, now: float, limit_seconds: float) -> bool:
        """Whether no media has come for longer than the limit and the upstream's own rhythm."""
        since = self.wanted_since if self.last_media_at is None else self.last_media_at
        return since is not None and now - since > limit_seconds + self.quiet_seconds

    def failing_seconds(self, now: float, stall_seconds: float) -> float | None:
        """Since when it has been wanted without delivering; None while it delivers or is not wanted."""
        if self.wanted_since is None or self.state_at(now, stall_seconds) is UpstreamState.FLOWING:
            return None
        return now - max(self.wanted_since, self.last_media_at or 0.0)

    @property
    def delivered(self) -> bool:
        """Whether media has come since the upstream was last wanted."""
        return (
            self.wanted_since is not None and self.last_media_at is not None and self.last_media_at >= self.wanted_since
        )

    def note(self, losses: Losses) -> None:
        self.datagrams_lost += losses.lost
        self.datagrams_reordered += losses.reordered

    def sample(self, now: float) -> None:
        self._samples.append((now, self.bytes_in))

    def rest(self) -> None:
        """Nothing is open any more, and nothing is to be."""
        self.state = UpstreamState.IDLE
        self.wanted_since = None
        self._samples.clear()

    @property
    def bitrate_bps(self) -> int:
        if len(self._samples) < 2:
            return 0
        (began, bytes_before), (ended, bytes_after) = self._samples[0], self._samples[-1]
        return int((bytes_after - bytes_before) * 8 / (ended - began)) if ended > began else 0
