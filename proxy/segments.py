"""Memory that the kernel can send from: one append-only memfd per ring segment.

Nothing here is ever rewritten: ``sendfile`` queues references to these pages, and what a slow viewer's socket still
holds must stay as it was. Closing a segment frees its pages as soon as no socket refers to them any more.
"""

import os
from typing import Final

_NAME: Final = "penstock"


class MemfdSegment:
    """Anonymous memory of up to ``capacity`` bytes behind a file descriptor."""

    __slots__ = ("_capacity", "_fd", "_size")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)

    def append(self, block: bytes) -> None:
        """Add bytes; raise ValueError beyond the capacity, OSError when there is no memory."""
        if self._size + len(block) > self._capacity:
            raise ValueError(self._capacity)
        rest = memoryview(block)
        while rest:
            rest = rest[os.pwrite(self._fd, rest, self._size + len(block) - len(rest)) :]
        self._size += len(block)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Give the memory back. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
