"""The snapshots of all sessions: each is made once for all who ask, few at once, and not more often than is of use."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from proxy.core.stills import Still
from proxy.serve.answers import RefusedError, not_yet
from proxy.serve.thumb.jpeg import PictureError, ProgramMissingError
from proxy.session import Session

FRESH_SECONDS: Final = 3.0
"""A snapshot, or the reason why there is none, is good for so long, whatever has come since."""
KEPT_SECONDS: Final = 60.0
"""One that nobody asked for during this time is forgotten."""
RUNNING_MAX: Final = 2
WAITING_MAX: Final = 32
"""Requests that wait for a picture, over all sessions."""

Encode = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    jpeg: bytes
    tag: str
    position: int
    wall: float
    """Unix time when its picture came."""


@dataclass(slots=True)
class _Entry:
    """What is known of one session."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    looked_at: float = float("-inf")
    asked_at: float = float("-inf")
    found: Snapshot | None = None
    refusal: RefusedError | None = None

    def is_fresh(self, now: float) -> bool:
        return now - self.looked_at < FRESH_SECONDS

    def answer(self) -> Snapshot:
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)  # it is raised again and again
        assert self.found is not None
        return self.found


class Snapshots:
    """Make with the loop's time as ``now``; ``encode`` raises PictureError or ProgramMissingError."""

    def __init__(self, encode: Encode, now: Callable[[], float]) -> None:
        self._encode = encode
        self._now = now
        self._entries: dict[Session, _Entry] = {}
        self._running = asyncio.Semaphore(RUNNING_MAX)
        self._waiting = 0

    async def of(self, session: Session) -> Snapshot:
        """Return the session's newest snapshot; raise RefusedError with what to answer when there is none."""
        if session.feed is None:
            raise RefusedError(404, f"nobody watches {session.key}: there is no picture of what is not open")
        entry = self._entries.setdefault(session, _Entry())
        entry.asked_at = self._now()
        if not entry.is_fresh(entry.asked_at):
            async with self._turn(), entry.lock:
                if not entry.is_fresh(self._now()):
                    await self._look(session, entry)
        return entry.answer()

    def sweep(self, now: float) -> None:
        """Forget sessions that are over, and snapshots that nobody asks for any more."""
        for session, entry in tuple(self._entries.items()):
            if not entry.lock.locked() and (session.over or now - entry.asked_at > KEPT_SECONDS):
                del self._entries[session]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING_MAX:
            raise not_yet("too many pictures are asked for at the moment")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _look(self, session: Session, entry: _Entry) -> None:
        still = session.feed.key_picture() if session.feed is not None else None
        if still is None:
            entry.refusal = not_yet(f"{session.key} shows no picture at the moment")
        elif entry.found is None or entry.refusal is not None or entry.found.position != still.position:
            await self._make(still, entry)
        entry.looked_at = self._now()

    async def _make(self, still: Still, entry: _Entry) -> None:
        try:
            async with self._running:
                jpeg = await self._encode(still.alone) or await self._encode(still.followed)
        except PictureError as error:
            entry.refusal = RefusedError(502, str(error))
        except ProgramMissingError as error:
            entry.refusal = RefusedError(501, f"snapshots need ffmpeg, and there is no {error}: apt-get install ffmpeg")
        else:
            tag = hashlib.blake2b(jpeg, digest_size=9).hexdigest()
            entry.found = Snapshot(jpeg, tag, still.position, still.wall)
            entry.refusal = None if jpeg else RefusedError(502, "ffmpeg made no picture of it")
