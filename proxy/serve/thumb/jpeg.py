"""One ffmpeg that turns one key picture into one JPEG: media in on stdin, a picture out on stdout, and nothing else.

What it decodes comes from anybody, so it may do nothing but that: no shell, no environment, no protocol but pipes, no
file to write, and limits of time, memory and CPU, set before it is given the first byte. It runs at a lower priority
than the byte path.
"""

import asyncio
import os
import resource
import shutil
from contextlib import suppress
from typing import Final

SECONDS_MAX: Final = 5.0
CPU_SECONDS_MAX: Final = 4
MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Of address space, much of which is its libraries; a picture of 8K needs some 400 MiB."""
FILES_MAX: Final = 32
NICENESS: Final = 10
EDGE_PIXELS_MAX: Final = 480
WORDS_MAX: Final = 200
_SCALE: Final = (
    r"scale=min(iw*sar\,8192):ih,setsar=1,"  # pixels that are not square first, so that the picture keeps its shape
    rf"scale=min(iw\,{EDGE_PIXELS_MAX}):min(ih\,{EDGE_PIXELS_MAX})"
    ":force_original_aspect_ratio=decrease:force_divisible_by=2:out_range=pc,format=yuvj420p"
)
ARGUMENTS: Final = (
    *("-nostdin", "-hide_banner", "-loglevel", "fatal", "-threads", "1", "-protocol_whitelist", "pipe"),
    *("-f", "mpegts", "-probesize", "5000000", "-analyzeduration", "0", "-i", "pipe:0"),
    *("-map", "0:v:0", "-frames:v", "1", "-an", "-sn", "-dn", "-filter_threads", "1", "-vf", _SCALE),
    *("-c:v", "mjpeg", "-q:v", "5", "-f", "image2pipe", "pipe:1"),
)


class ProgramMissingError(Exception):
    """There is no such program."""


class PictureError(Exception):
    """No picture came of it; the text says why."""


async def encode(media: bytes, program: str) -> bytes:
    """Return the first picture of this MPEG-TS as JPEG; raise PictureError or ProgramMissingError."""
    path = shutil.which(program)
    if path is None:
        raise ProgramMissingError(program)
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            path, *ARGUMENTS, stdin=pipe, stdout=pipe, stderr=pipe, env={"LC_ALL": "C"}, cwd="/", start_new_session=True
        )
    except OSError as error:
        raise PictureError(f"ffmpeg cannot be started: {error.strerror}") from None
    try:
        _confine(process.pid)
        async with asyncio.timeout(SECONDS_MAX):
            picture, said = await process.communicate(media)
    except TimeoutError:
        raise PictureError(f"ffmpeg took longer than {SECONDS_MAX:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise PictureError(_explain(process.returncode, said))
    return picture


def _confine(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself: communicate will tell
        for limit, most in (
            (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
            (resource.RLIMIT_CPU, CPU_SECONDS_MAX),
            (resource.RLIMIT_NOFILE, FILES_MAX),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(pid, limit, (most, most))
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)


def _explain(code: int | None, said: bytes) -> str:
    words = " ".join(said.decode(errors="replace").split())[:WORDS_MAX]
    return f"ffmpeg could not decode the picture: {words or f'exit code {code}'}"
