"""Whether a controller that has just begun to lead knows enough to stop anything.

It does once every proxy was listed or is known to be unreachable, and the sources' messages that waited at the broker
are taken in: only then is a session of which no row tells surely one that nobody wants. A broker that stays away
cannot hold it up for longer than ``PATIENCE_SECONDS``.
"""

from collections.abc import Callable

PATIENCE_SECONDS = 10.0


class StartupGate:
    """Shut from the beginning of the leadership until all is known, or patience is over."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        unlisted: Callable[[], int],
        has_caught_up: Callable[[], bool],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._clock = clock
        self._unlisted = unlisted
        self._has_caught_up = has_caught_up
        self._patience_seconds = patience_seconds
        self._until: float | None = clock() + patience_seconds

    def shut(self) -> None:
        """Begin anew: another controller may have led in between."""
        self._until = self._clock() + self._patience_seconds

    def reason(self) -> str:
        """Return what has to happen before anything is stopped; empty once it has."""
        if self._until is None or self._clock() >= self._until:
            self._until = None
            return ""
        unlisted = self._unlisted()
        if unlisted:
            return f"a list of every proxy ({unlisted} are not listed yet)"
        if not self._has_caught_up():
            return "what waited at the broker is taken in"
        self._until = None
        return ""
