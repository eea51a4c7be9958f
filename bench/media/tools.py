"""The bench's own programs: compiled when they are needed, spoken to in lines, ended by their process ids."""

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent / "tools"
CLIP_SECONDS = 10
CLIP_BITS = 7_850_000
"""Of the clip alone; with its stamps the source sends 8 Mbit/s."""
TICK_MS = 10


class MissingError(Exception):
    """Something that is measured with is not installed; the text names the package."""


def need(command: str, package: str) -> str:
    """Return the path of a command, or raise MissingError."""
    found = shutil.which(command) or shutil.which(command, path="/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{command} is missing: apt-get install {package}")
    return found


def compiled(name: str, home: Path) -> Path:
    """Return the program, compiled into ``home`` if it is not there yet."""
    program = home / name
    if not program.exists():
        compiler = need("gcc", "gcc libc6-dev")
        subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


def clip(home: Path) -> Path:
    """Return some seconds of real H.264 and AAC at a constant rate, a key frame every second, made by ffmpeg."""
    path = home / "clip.ts"
    if path.exists():
        return path
    picture = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25", "-f", "lavfi", "-i", "sine=440"]
    coding = ["-vf", "noise=alls=20:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    keys = ["-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-x264-params", "nal-hrd=cbr:force-cfr=1"]
    rate = ["-b:v", "7M", "-minrate", "7M", "-maxrate", "7M", "-bufsize", "3.5M", "-c:a", "aac", "-b:a", "128k"]
    muxed = ["-f", "mpegts", "-muxrate", str(CLIP_BITS), path]
    made = [need("ffmpeg", "ffmpeg"), "-v", "error", *picture, "-t", str(CLIP_SECONDS), *coding, *keys, *rate, *muxed]
    subprocess.run(made, check=True)
    return path


class Process:
    """A child that is ended by its id, whatever happens."""

    def __init__(
        self, *command: str | Path, environment: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment, cwd=cwd,
        )  # fmt: skip
        assert self._child.stderr is not None
        os.set_blocking(self._child.stderr.fileno(), False)
        self.pid = self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=5)
        if self._child.returncode is None:
            self._child.kill()
            self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def is_over(self) -> bool:
        return self._child.poll() is not None

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def answer(self) -> Any:
        """Return the next line, which is JSON."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            time.sleep(0.1)
            assert self._child.stderr is not None
            raise RuntimeError(f"{self._child.args!r} has ended: {(self._child.stderr.read() or '')[-500:]}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        assert self._child.stdin is not None
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()
        return self.answer()


class Source(Process):
    """The paced source: one live programme under every path."""

    def __init__(self, home: Path) -> None:
        super().__init__(compiled("source", home), clip(home), str(CLIP_BITS), str(TICK_MS))
        self.port: int = self.answer()["port"]


class Load(Process):
    """The load maker, for one server."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__(compiled("load", home), str(port))
