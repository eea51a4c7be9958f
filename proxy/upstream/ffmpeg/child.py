"""One child process whose output is read: no shell, no environment, its own group, and always ended.

Three things end it: ``end``, the loss of its output, and the death of this process (``leash``). What it complains
about is drained all the time, so that it never stands still for that, and only the last of it is kept.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.upstream.descriptors import readable

CHUNK_BYTES: Final = 64 * 1024
PIPE_BYTES: Final = 256 * 1024
COMPLAINTS_BYTES_MAX: Final = 8 * 1024
GOODBYE_SECONDS: Final = 1.0
"""So long it may take after SIGTERM: time to say goodbye to its server."""
KILLED_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.02
LEASH: Final = Path(__file__).with_name("leash.py")
ENVIRONMENT: Final = {"LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"}
"""Nothing of ours: that holds tokens."""


class Child:
    """Made in a running loop; raises OSError when it cannot be started. ``words`` is what it finds on its input."""

    def __init__(self, command: Sequence[str], words: bytes = b"") -> None:
        self._loop = asyncio.get_running_loop()
        self._complaints = bytearray()
        self._ends: list[int] = []
        output, output_of_child = self._pipe()
        complaints, complaints_of_child = self._pipe()
        input_of_child, input_ = self._pipe()
        try:
            os.write(input_, words)  # fits into the pipe: a URL is 4 KiB at most
            self._process = subprocess.Popen(  # noqa: S603 - no shell, and the command is ours
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command],
                stdin=input_of_child,
                stdout=output_of_child,
                stderr=complaints_of_child,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        self._close(but=(output, complaints))
        self._output = output
        with suppress(OSError):
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(output, False)
        os.set_blocking(complaints, False)
        self._loop.add_reader(complaints, self._hear, complaints)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def complaints(self) -> str:
        """The last of what it wrote to its standard error."""
        for descriptor in self._ends:
            if descriptor != self._output:
                self._hear(descriptor)
        return self._complaints.decode(errors="replace")

    async def read(self) -> bytes:
        """Return the next piece of its output; nothing at the end."""
        while True:
            try:
                return os.read(self._output, CHUNK_BYTES)
            except BlockingIOError:
                await readable(self._output)

    async def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal; None when it does not end although its output did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                while self._process.poll() is None:  # noqa: ASYNC110 - a child rings no bell
                    await asyncio.sleep(LOOK_SECONDS)
        return self._process.poll()

    async def end(self) -> None:
        """Ask it to go and close its output; kill it if it stays. Nothing is left when this returns or is cancelled."""
        self._close()
        self._signal(signal.SIGTERM)
        try:
            await self.exit_code()
        finally:
            self._signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILLED_SECONDS)  # at once, unless the kernel itself hangs

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _hear(self, descriptor: int) -> None:
        try:
            words = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        if not words:
            self._loop.remove_reader(descriptor)
        self._complaints += words
        del self._complaints[:-COMPLAINTS_BYTES_MAX]

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._ends += ends
        return ends

    def _close(self, but: tuple[int, ...] = ()) -> None:
        for descriptor in self._ends:
            if descriptor not in but:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
        self._ends = list(but)
