"""Ring storage in plain memory, for tests of the pure core."""


class MemorySegment:
    """As ``proxy.segments.MemfdSegment``, without a descriptor; counts how many are open."""

    open_count = 0

    def __init__(self, capacity: int, _expected: int = 0) -> None:
        self._capacity = capacity
        self._block = bytearray()
        self._closed = False
        MemorySegment.open_count += 1

    def append(self, block: bytes) -> None:
        if len(self._block) + len(block) > self._capacity:
            raise ValueError(self._capacity)
        self._block += block

    def read(self, offset: int, size: int) -> bytes:
        assert not self._closed
        return bytes(self._block[offset : offset + size])

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            MemorySegment.open_count -= 1
