"""Memory that the kernel can send from: one append-only memfd per ring segment.

Nothing here is ever rewritten: ``sendfile`` queues references to these pages, and what a slow viewer's socket still
holds must stay as it was. Closing a segment frees its pages as soon as no socket refers to them any more.
"""

import os
from typing import Final

from proxy.huge_pages import HUGE_BYTES, HugePages

SPARE_BYTES_MAX: Final = HUGE_BYTES // 8
"""So much of a huge page may probably stay empty."""
_NAME: Final = "penstock"


class MemfdSegment:
    """Anonymous memory of up to ``capacity`` bytes behind a file descriptor, of which ``expected`` will be used."""

    __slots__ = ("_capacity", "_fd", "_huge_bytes", "_huge_pages", "_laid_bytes", "_size")

    def __init__(self, capacity: int, expected: int = 0, huge_pages: HugePages | None = None) -> None:
        self._capacity = capacity
        self._size = 0
        self._huge_pages = huge_pages
        self._huge_bytes = (expected + SPARE_BYTES_MAX) // HUGE_BYTES * HUGE_BYTES if huge_pages is not None else 0
        """Of its beginning, to lie in huge pages; ``_laid_bytes`` do."""
        self._laid_bytes = 0
        self._fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)

    def append(self, block: bytes) -> None:
        """Add bytes; raise ValueError beyond the capacity, OSError when there is no memory."""
        end = self._size + len(block)
        if end > self._capacity:
            raise ValueError(self._capacity)
        while self._laid_bytes < min(end, self._huge_bytes):
            self._lay()
        written = os.pwrite(self._fd, block, self._size)
        rest = memoryview(block)[written:]
        while rest:
            rest = rest[os.pwrite(self._fd, rest, end - len(rest)) :]
        self._size = end

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, max(0, min(size, self._size - offset)), offset)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Give the memory back. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lay(self) -> None:
        if self._huge_pages is not None and self._huge_pages.lay(self._fd, self._laid_bytes):
            self._laid_bytes += HUGE_BYTES
        else:
            self._huge_bytes = self._laid_bytes
