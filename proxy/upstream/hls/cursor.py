"""Which segments of a live playlist are due, and when to ask for the playlist again. Pure.

Segments are known by their media sequence numbers alone, and every one after the last that was read is due: a late
poll neither skips nor repeats anything. What a sliding window has dropped meanwhile is lost, and reading goes on near
the live edge rather than at the far end of the window, where the next segments are about to be dropped too.
"""

from collections.abc import Sequence
from typing import Final

from proxy.upstream.hls.playlist import MediaPlaylist, Segment

POLL_SECONDS_MIN: Final = 0.5
POLL_SECONDS_MAX: Final = 60.0
BACKWARD_POLLS_MAX: Final = 3
"""So many playlists in a row that end before what was read already are no stale copies."""


class Cursor:
    """Where one reader stands in one playlist."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._backward_polls = 0

    def due(self, playlist: MediaPlaylist) -> tuple[Sequence[Segment], bool]:
        """Return the segments to read now, in order, and whether something was lost before the first of them."""
        segments = playlist.segments
        if not segments:
            return (), False
        if self._next is None:
            return (segments if playlist.ended else _near_the_edge(playlist)), False
        if self._has_restarted(segments[-1].number):
            return _near_the_edge(playlist), True
        if segments[0].number > self._next:
            return (segments if playlist.ended else _near_the_edge(playlist)), True
        return segments[max(0, self._next - segments[0].number) :], False

    def passed(self, segment: Segment) -> None:
        self._next = segment.number + 1

    def _has_restarted(self, last: int) -> bool:
        """Tell another run of the encoder under the same address from a cache's old copy of the playlist."""
        assert self._next is not None
        if last >= self._next - 1:
            self._backward_polls = 0
            return False
        self._backward_polls += 1
        if self._backward_polls < BACKWARD_POLLS_MAX:
            return False
        self._backward_polls = 0
        return True


def _near_the_edge(playlist: MediaPlaylist) -> Sequence[Segment]:
    """From the last segment on that begins three target durations, or the hold-back, before the end (6.3.3)."""
    left_seconds = 0.0
    for index in range(len(playlist.segments) - 1, -1, -1):
        left_seconds += playlist.segments[index].seconds
        if left_seconds >= playlist.hold_back_seconds:
            return playlist.segments[index:]
    return playlist.segments


def poll_seconds(playlist: MediaPlaylist, *, had_news: bool) -> float:
    """Return how long after the last request began the next one may be made (6.3.4).

    A target duration after a change, else half of it; sooner only when the window is shorter than a server may make it.
    """
    wait = playlist.target_seconds * (1.0 if had_news else 0.5)
    if playlist.segments:
        wait = min(wait, playlist.seconds / 2)
    return min(max(wait, POLL_SECONDS_MIN), POLL_SECONDS_MAX)
