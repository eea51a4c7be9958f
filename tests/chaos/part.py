"""One process of the world, and its supervisor."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

RESTART_SECONDS = 0.3
"""As a supervisor that does not make a busy loop of a process that cannot start."""

GOODBYE_SECONDS = 10.0


class Part:
    """Started again whenever it ends, unless it is held down."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        goodbye: signal.Signals = signal.SIGKILL,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.name = name
        self.log_path = log
        self.starts = 0
        self.may_run = asyncio.Event()
        self.may_run.set()
        self._command = command
        self._environment = environment
        self._goodbye = goodbye
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the process; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep it running until cancelled; then end it."""
        try:
            while True:
                await self.may_run.wait()
                await self._spawn()
                assert self._process is not None
                code = await self._process.wait()
                self._tell(f"{self.name} ended ({_in_words(code)})")
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self._end()

    def send_signal(self, number: signal.Signals) -> bool:
        """Return whether there was a process to send it to."""
        if self.pid is None:
            return False
        os.kill(self.pid, number)
        return True

    async def is_down(self) -> None:
        """Wait until no process of it runs."""
        while self.pid is not None:  # noqa: ASYNC110 - the supervisor waits for the process, others look
            await asyncio.sleep(0.02)

    async def _spawn(self) -> None:
        self.starts += 1
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self.send_signal(signal.SIGCONT)
        self.send_signal(self._goodbye)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._process.wait()
        self.send_signal(signal.SIGKILL)
        await self._process.wait()


def _in_words(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
