"""What sessions are given: limits, and the ways to a feed and to an upstream."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.feed import Feed
from proxy.core.rota import Backoff
from proxy.session.viewers import ViewerGauge
from proxy.upstream.ports import PullPorts


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """All in seconds."""

    linger_seconds: float = 10.0
    """The upstream is closed so long after the last viewer left."""
    start_timeout_seconds: float = 10.0
    """A viewer is answered within so long, with media or with the reason why not."""
    start_hold_seconds: float = 2.0
    """After a failed start, viewers get the same answer for so long without another attempt."""
    stall_seconds: float = 5.0
    """An open upstream that is silent for so long counts as stalled."""
    keepalive_seconds: float = 0.45
    """Viewers get null packets when they were given no media for so long: less than a tick, so that they come within
    the first second."""
    give_up_seconds: float = 60.0
    """An on-demand session that failed for so long sends its viewers away and becomes idle."""
    finish_seconds: float = 30.0
    """Viewers of a finished session may fetch the rest for so long."""


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """What a session needs from outside, the same for all sessions."""

    new_feed: Callable[[int], Feed]
    """Makes a feed whose playlists have had so many breaks before."""
    pulling: PullPorts
    backoff: Backoff
    gauge: ViewerGauge
    limits: SessionLimits
    now: Callable[[], float]
    """Loop time in seconds."""
