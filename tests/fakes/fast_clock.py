"""A clock that runs faster for another process, so that what happens after minutes there can be waited for here.

Only the monotonic clock and the waits of its event loop change; code, sockets and kernel are the real ones.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

COMPILER: Final = shutil.which("gcc")
MISSING: Final = "a C compiler is needed (apt-get install gcc libc6-dev)"

SOURCE: Final = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NANOS 1000000000LL

static long long began;

static int real(clockid_t clock, struct timespec *at) { return syscall(SYS_clock_gettime, clock, at); }

__attribute__((constructor)) static void begin(void)
{
    struct timespec at;
    real(CLOCK_MONOTONIC, &at);
    began = at.tv_sec * NANOS + at.tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int failed = real(clock == CLOCK_MONOTONIC_COARSE ? CLOCK_MONOTONIC : clock, at);
    if (!failed && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) {
        long long now = began + (at->tv_sec * NANOS + at->tv_nsec - began) * SPEED;
        at->tv_sec = now / NANOS;
        at->tv_nsec = now % NANOS;
    }
    return failed;
}

int epoll_pwait(int poll, struct epoll_event *events, int most, int millis, const sigset_t *mask)
{
    millis = millis > 0 ? (millis + SPEED - 1) / SPEED : millis;
    return syscall(SYS_epoll_pwait, poll, events, most, millis, mask, _NSIG / 8);
}

int epoll_wait(int poll, struct epoll_event *events, int most, int millis)
{
    return epoll_pwait(poll, events, most, millis, NULL);
}
"""


def library(folder: Path, speed: int) -> Path:
    """Build what ``LD_PRELOAD`` takes for a process whose monotonic clock is so many times as fast."""
    source, built = folder / "fast_clock.c", folder / "fast_clock.so"
    source.write_text(SOURCE)
    assert COMPILER is not None
    flags = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC", f"-DSPEED={speed}"]
    subprocess.run([COMPILER, *flags, "-o", built, source], check=True)
    return built
