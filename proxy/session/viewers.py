"""The viewers of sessions, as plain records. How they are served is not known here."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from proxy import contract
from proxy.contract import Output, SessionSpec
from proxy.errors import ViewerLimitError

RATE_SECONDS: Final = 5.0
"""Every so long is noted what each viewer has had; its rate is that of the last one to two such times."""
RATE_SECONDS_MIN: Final = 1.0
"""What a viewer gets at once when it comes is no rate."""


@dataclass(slots=True, eq=False)
class Viewer:
    """One client of a session. ``since`` is loop time; ``position`` is the next byte of the feed it gets."""

    viewer_id: str
    protocol: Output
    address: str
    user_agent: str
    since: float
    bytes_sent: int = 0
    position: int = 0
    moves: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has to go: the session stopped, or an operator sent it away."""
    _before: tuple[float, int] | None = None
    _lately: tuple[float, int] | None = None

    def sample(self, now: float) -> None:
        """Note what it has had; to be called every ``RATE_SECONDS``."""
        self._before, self._lately = self._lately, (now, self.bytes_sent)

    def rate_bps(self, now: float) -> int:
        """Return how fast it has been sent to lately, in bits per second."""
        since, bytes_before = self._before or (self.since, 0)
        return int((self.bytes_sent - bytes_before) * 8 / max(now - since, RATE_SECONDS_MIN))

    def lag_bytes(self, head: int) -> int:
        """Return how far it is behind ``head``. One of HLS is where its newest segment ended; before that, nowhere."""
        return max(0, head - self.position) if self.protocol is Output.TS or self.position else 0

    def view(self, stream_id: str, key: str, *, head: int, now: float) -> contract.Viewer:
        """Return it as the control API shows it; ``head`` is the end of the session's feed."""
        return contract.Viewer(
            viewer_id=self.viewer_id,
            stream_id=stream_id,
            key=key,
            protocol=self.protocol,
            address=self.address,
            user_agent=self.user_agent,
            since_seconds=now - self.since,
            bytes_sent=self.bytes_sent,
            lag_bytes=self.lag_bytes(head),
            rate_bps=self.rate_bps(now),
            moves=self.moves,
        )


@dataclass(slots=True)
class ViewerGauge:
    """How many viewers this proxy has and may have, over all sessions."""

    limit: int
    count: int = 0


class Crowd:
    """The viewers of one session, and what those that have left had."""

    def __init__(self, gauge: ViewerGauge) -> None:
        self.viewers: dict[str, Viewer] = {}
        self._gauge = gauge
        self._bytes_of_the_gone = 0
        self._moves_of_the_gone = 0
        self._sampled_at = 0.0

    def enter(self, viewer: Viewer, spec: SessionSpec) -> None:
        """Count the viewer; raise ViewerLimitError when the proxy or the stream is full."""
        if self._gauge.count >= self._gauge.limit:
            raise ViewerLimitError(self._gauge.limit)
        if spec.viewers_max is not None and len(self.viewers) >= spec.viewers_max:
            raise ViewerLimitError(spec.viewers_max, spec.key)
        self.viewers[viewer.viewer_id] = viewer
        self._gauge.count += 1

    def leave(self, viewer: Viewer) -> bool:
        """Forget the viewer; return whether it was here."""
        if self.viewers.pop(viewer.viewer_id, None) is None:
            return False
        self._gauge.count -= 1
        self._bytes_of_the_gone += viewer.bytes_sent
        self._moves_of_the_gone += viewer.moves
        return True

    def count(self, protocol: Output) -> int:
        return sum(viewer.protocol is protocol for viewer in self.viewers.values())

    def sample(self, now: float) -> None:
        """Note every ``RATE_SECONDS`` what each viewer has had; to be called more often."""
        if now - self._sampled_at >= RATE_SECONDS:
            self._sampled_at = now
            for viewer in self.viewers.values():
                viewer.sample(now)

    @property
    def bytes_sent(self) -> int:
        return self._bytes_of_the_gone + sum(viewer.bytes_sent for viewer in self.viewers.values())

    @property
    def moves(self) -> int:
        return self._moves_of_the_gone + sum(viewer.moves for viewer in self.viewers.values())


def dismiss(watching: Iterable[Viewer]) -> None:
    """Give everybody the end."""
    for viewer in watching:
        viewer.over.set()


def dismiss_up_to_date(watching: Iterable[Viewer], head: int) -> None:
    """Give the end to those of MPEG-TS who have all that there is."""
    for viewer in watching:
        if viewer.protocol is Output.TS and viewer.position >= head:
            viewer.over.set()
