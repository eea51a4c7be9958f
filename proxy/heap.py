"""Memory that Python has freed stays with the process, up to a bound, instead of going back to the kernel at once.

What fifty streams bring in a beat lies at the heap's end for a fifth of a second. glibc gives such memory back as soon
as it is free and asks for it again at the next beat, page by page: 8,000 page faults a second, a tenth of all CPU.
Whether it does so hangs on what else lies there, so that one process pays and the next one does not.
"""

import ctypes
from typing import Final

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""So much free memory at the heap's end is kept."""
GROWN_BYTES: Final = 1024 * 1024
OWN_MAPPING_BYTES_MIN: Final = 4 * 1024 * 1024
"""What is smaller is taken from the heap; pages of a mapping of its own would be new every time."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)


def keep_freed_memory() -> bool:
    """Ask the allocator of the C library for it; return whether it does so. Others than glibc have their own ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wishes = {
        _TRIM_THRESHOLD: KEPT_BYTES_MAX,
        _TOP_PAD: GROWN_BYTES,
        _MMAP_THRESHOLD: OWN_MAPPING_BYTES_MIN,
    }
    taken = [mallopt(name, value) == 1 for name, value in wishes.items()]
    return all(taken)
