"""What pulls are given, and what they tell: limits, the ways out, and what ended. Pure data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from proxy.contract import Upstream
from proxy.core.feed import Feed, Medium
from proxy.upstream.items import Reader
from proxy.upstream.slots import Slots


@dataclass(frozen=True, slots=True)
class PullLimits:
    """All in seconds."""

    open_seconds: float = 9.0
    """For the first media byte, over all upstreams of the list together."""
    open_seconds_min: float = 2.0
    """For the first media byte of one upstream, however long the list is."""
    silence_seconds: float = 15.0
    """A connection that sends no media for so long is closed."""
    stall_seconds: float = 5.0
    """The same, when there are other upstreams to go to."""


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


@dataclass(frozen=True, slots=True)
class PullPorts:
    """What pulls need from outside, the same for all of them."""

    open_upstream: Callable[[Upstream], Reader]
    slots: Slots
    limits: PullLimits


@dataclass(frozen=True, slots=True)
class PullHooks:
    """What the session is told."""

    on_media: Callable[[], None]
    """For every chunk with media, so it must be cheap."""
    on_state: Callable[[], None]
    on_round_failed: Callable[[RoundFailed], bool]
    """Returns whether to give up."""
    on_recall: Callable[[], None]
    """Another one waits for the host's connection, and this pull is spare."""
    new_feed: Callable[[], Feed]
    """Makes one more feed, for the pull to write and to close unless it is taken over."""
    on_succession: Callable[[Feed], None]
    """From now on this one is what viewers are given; the former one gets no more."""
    leaves_nobody: Callable[[Medium], bool]
    """Whether all who watch now could go on in this medium."""
