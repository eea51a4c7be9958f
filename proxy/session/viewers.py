"""The viewers of sessions, as plain records. How they are served is not known here."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy import contract
from proxy.contract import Output


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
            lag_bytes=max(0, head - self.position) if self.protocol is Output.TS else 0,
            moves=self.moves,
        )


@dataclass(slots=True)
class ViewerGauge:
    """How many viewers this proxy has and may have, over all sessions."""

    limit: int
    count: int = 0


def dismiss(watching: Iterable[Viewer]) -> None:
    """Give everybody the end."""
    for viewer in watching:
        viewer.over.set()


def dismiss_up_to_date(watching: Iterable[Viewer], head: int) -> None:
    """Give the end to those of MPEG-TS who have all that there is."""
    for viewer in watching:
        if viewer.protocol is Output.TS and viewer.position >= head:
            viewer.over.set()
