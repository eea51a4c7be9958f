"""How long to wait before the next try: exponential, capped, with the jitter handed in."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays of ``first_seconds``, doubling up to ``cap_seconds``."""

    first_seconds: float = 0.5
    cap_seconds: float = 30.0

    def delay(self, attempt: int, jitter: float = 0.0) -> timedelta:
        """Return the delay before try number ``attempt + 1`` (0 is the first failure).

        ``jitter`` in [0, 1) shortens it by up to a half, so that many that failed together do not return together.
        """
        full = min(self.cap_seconds, self.first_seconds * 2.0 ** min(attempt, 60))
        return timedelta(seconds=full * (1.0 - jitter / 2.0))
