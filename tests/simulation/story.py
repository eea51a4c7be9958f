"""What happened in a world: when, who, what. Told to people, and hashed to prove that a replay is one."""

import hashlib
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from tests.simulation.clock import PROCESS, VirtualLoop

TOLD = (
    "key",
    "proxy",
    "epoch",
    "generation",
    "outcome",
    "why",
    "kind",
    "action",
    "gate",
    "evidence",
    "error",
    "reason",
)
"""What of a log line is told, in this order."""


class Story:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._lines: list[tuple[float, str, str]] = []

    def tell(self, actor: str, text: str) -> None:
        self._lines.append((self._loop.time(), actor, text))

    def lines(self, since: float = 0.0) -> Iterator[str]:
        return (f"{at:9.3f}  {actor:<10}  {text}" for at, actor, text in self._lines if at >= since)

    def digest(self) -> str:
        """Return a fingerprint of everything: equal worlds, equal digests."""
        digest = hashlib.sha256()
        for at, actor, text in self._lines:
            digest.update(f"{at!r} {actor} {text}\n".encode())
        return digest.hexdigest()[:16]

    def hear(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> None:
        """Take a log line of the product; nothing is printed."""
        process = PROCESS.get()
        if process is None or process.is_alive:
            details = " ".join(f"{name}={event[name]}" for name in TOLD if name in event and event[name] != "")
            self.tell(process.name if process else "world", f"{event['event']} {details}")
            if event.get("exc_info"):
                import traceback

                self.tell(process.name if process else "world", traceback.format_exc())
        raise structlog.DropEvent

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the product's log while it runs in this world."""
        kept = structlog.get_config()
        structlog.configure(
            processors=[self.hear],
            wrapper_class=structlog.make_filtering_bound_logger("info"),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**kept)
