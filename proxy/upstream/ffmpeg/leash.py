"""Run as a script: ties itself to the process that started it, then becomes a program. No import of this house.

    python -I -S leash.py PARENT_PID PROGRAM ARGUMENT ...

The kernel kills the program when its parent dies, however that dies: a proxy that was killed leaves nothing running.
"""

import ctypes
import os
import sys
from typing import Final, NoReturn

PR_SET_PDEATHSIG: Final = 1
SIGKILL: Final = 9
EXIT_ORPHANED: Final = 3


def main(parent: int, command: list[str]) -> NoReturn:
    """Never return: the process is the program from here on, or it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(EXIT_ORPHANED)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
