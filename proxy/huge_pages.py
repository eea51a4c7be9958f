"""Memory files in pages of 2 MiB, where the kernel gives them: cheaper to fill, and much cheaper to send from.

``MADV_COLLAPSE`` (Linux 6.1) makes one of many small pages, whatever the system's setting for shared memory is. Where
it fails, or takes long because memory has to be moved first, one does without for a while.
"""

import ctypes
import mmap
import os
from time import monotonic
from typing import Final

HUGE_BYTES: Final = 2 * 1024 * 1024
SLOW_SECONDS: Final = 0.01
"""Everybody waits for the kernel meanwhile."""
REST_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.25
"""Between two of them, each of which takes half a millisecond: many streams with few viewers do not pay for what few
streams with many gain."""
_COLLAPSE: Final = 25  # MADV_COLLAPSE, uapi/asm-generic/mman-common.h
_FIXED: Final = 0x10
_NOTHING: Final = 0
_FAILED: Final = ctypes.c_void_p(-1).value

_libc: Final = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class HugePages:
    """Who asks the kernel for them, and remembers whether that is worth it."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def lay(self, descriptor: int, offset: int) -> bool:
        """Let the file's bytes from ``offset``, a multiple of ``HUGE_BYTES`` at its end, lie in one; say whether."""
        began = monotonic()
        if began < self._not_before:
            return False
        os.ftruncate(descriptor, offset + HUGE_BYTES)
        os.pwrite(descriptor, b"\0", offset)  # of nothing at all none is made
        is_laid = _collapse(descriptor, offset)
        now = monotonic()
        is_good = is_laid and now - began <= SLOW_SECONDS
        self._not_before = now + (PAUSE_SECONDS if is_good else REST_SECONDS)
        return is_laid


def _collapse(descriptor: int, offset: int) -> bool:
    """Map the bytes for a moment, at an address that is a multiple of the size, as it must be."""
    room = _libc.mmap(None, 2 * HUGE_BYTES, _NOTHING, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if room == _FAILED:
        return False
    address = -(-room // HUGE_BYTES) * HUGE_BYTES
    flags = mmap.MAP_SHARED | _FIXED
    mapped = _libc.mmap(address, HUGE_BYTES, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, offset)
    is_laid = bool(mapped == address and _libc.madvise(address, HUGE_BYTES, _COLLAPSE) == 0)
    _libc.munmap(room, 2 * HUGE_BYTES)
    return is_laid
