"""One answer for many who ask at once: work that costs much and says the same to everybody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Does ``work`` one at a time. Whoever asks gets the result of a run that began after they asked.

    So an answer is never older than its question, and any number of questions cost at most two runs.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._begun = 0
        self._done: tuple[int, T] | None = None
        """The number of the last run that ended well, and its result."""

    async def get(self) -> T:
        """Return the result of a run that has not begun yet. Raises what ``work`` raises, to the one who runs it."""
        asked = self._begun
        async with self._turn:
            if self._done is not None and self._done[0] > asked:
                return self._done[1]
            self._begun += 1
            result = await self._work()
            self._done = self._begun, result
            return result
