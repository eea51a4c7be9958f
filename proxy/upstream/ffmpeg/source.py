"""Reads what only ffmpeg can: ``rtsp``, ``rtmp``, ``srt`` and files, copied into MPEG-TS by one child for each pull.

ffmpeg is told the URL on its input, in the words of its concat demuxer, and not by an argument: arguments are seen by
everybody on the machine. It may use the protocols and formats of the kind and no others.
"""

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp.abc import AbstractResolver

from proxy.errors import (
    UpstreamForbiddenError,
    UpstreamUnreachableError,
)
from proxy.upstream.address import CONTROLS, is_host, split
from proxy.upstream.ffmpeg.child import Child
from proxy.upstream.ffmpeg.verdict import Parting, judge
from proxy.upstream.items import Reader

RESOLVE_SECONDS_MAX: Final = 5.0
INTERLEAVE_MICROSECONDS: Final = 1_000_000
"""So long one elementary stream waits for another that has fallen silent."""
PORTS: Final = {"rtsp": 554, "rtmp": 1935, "srt": 0}
PROTOCOLS: Final = {"rtsp": "pipe,tcp,udp,rtp", "rtmp": "pipe,rtmp,tcp", "srt": "pipe,srt", "file": "file"}
FORMATS: Final = {
    "rtsp": "concat,rtsp",
    "rtmp": "concat,flv",
    "srt": "concat,mpegts",
    # Of files only such as hold media, and no list that would lead elsewhere.
    "file": "mpegts,mpeg,mpegvideo,mov,matroska,flv,avi,mxf,asf,ogg,h264,hevc,aac,mp3,ac3,eac3,flac,wav",
}
OPTIONS: Final = {"rtsp": "option rtsp_flags prefer_tcp\n"}
"""TCP passes firewalls and address translation; UDP is what ffmpeg falls back to."""
LOG_LEVELS: Final = {"rtsp": "level+debug"}
"""A camera's goodbye is told to nobody but who debugs: a hundred short lines a second, read and
dropped. That costs the proxy 0.6 ms of CPU a second and pull (measured with 25 pictures a second and sound)."""
SCHEMES: Final = frozenset(PROTOCOLS)
INPUT: Final = "pipe:0"


@dataclass(frozen=True, slots=True)
class FfmpegPolicy:
    program: str = "ffmpeg"
    files_dir: Path | None = None
    """Only files below it may be played; None: no file at all."""


@dataclass(frozen=True, slots=True)
class Source:
    """``path`` is a file's; ``host`` and ``port`` are everything else's."""

    scheme: str
    url: str
    host: str = ""
    port: int = 0
    path: Path = Path()

    @property
    def label(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(url: str, policy: FfmpegPolicy) -> Source:
    """Return what is to be read; raise UpstreamForbiddenError when it may not or cannot be here."""
    parts, port = split(url)
    _program(parts.scheme, policy)
    if parts.scheme == "file":
        return Source("file", url, path=_path(url, policy))
    host = parts.hostname or ""
    if not is_host(host):
        raise UpstreamForbiddenError("the upstream's host is neither an address nor a name")
    if not port and not PORTS[parts.scheme]:
        raise UpstreamForbiddenError(f"{parts.scheme} needs a port")
    return Source(parts.scheme, url, host, port or PORTS[parts.scheme])


async def read(url: str, policy: FfmpegPolicy, resolver: AbstractResolver) -> Reader:
    """Yield what ffmpeg makes of it; return when it has come to its end, as far as ffmpeg can tell."""
    source = parse(url, policy)
    if source.scheme == "file":
        await asyncio.to_thread(_check_file, source, policy)
    else:
        await _check_host(source, resolver)
    try:
        child = Child(_command(source, policy), _words(source))
    except OSError as error:
        raise UpstreamForbiddenError(f"ffmpeg cannot be started: {error.strerror}") from None
    last_media_at = None
    try:
        while media := await child.read():
            last_media_at = _now()
            yield media
        quiet_seconds = 0.0 if last_media_at is None else _now() - last_media_at
        code = await child.exit_code()
        said = child.complaints
    finally:
        await child.end()
    delivered = last_media_at is not None
    failure = judge(Parting(source.scheme, source.url, source.label, code, said, delivered, quiet_seconds))
    if failure is not None:
        raise failure


def _program(scheme: str, policy: FfmpegPolicy) -> str:
    program = shutil.which(policy.program)
    if program is None:
        raise UpstreamForbiddenError(f"{scheme} needs ffmpeg, which is not installed here (Debian: package ffmpeg)")
    return program


def _command(source: Source, policy: FfmpegPolicy) -> list[str]:
    is_file = source.scheme == "file"
    told = ["-re", "-i", f"file:{source.path}"] if is_file else ["-f", "concat", "-safe", "0", "-i", INPUT]
    return [
        *(_program(source.scheme, policy), "-hide_banner", "-nostdin", "-nostats"),
        *("-loglevel", LOG_LEVELS.get(source.scheme, "level+error")),
        *("-protocol_whitelist", PROTOCOLS[source.scheme], "-format_whitelist", FORMATS[source.scheme]),
        *told,
        *("-map", "0:V?", "-map", "0:a?", "-map", "0:s?", "-c", "copy"),
        *("-max_interleave_delta", str(INTERLEAVE_MICROSECONDS)),
        *("-f", "mpegts", "-flush_packets", "1", "pipe:1"),
    ]


def _words(source: Source) -> bytes:
    if source.scheme == "file":
        return b""
    quoted = source.url.replace("'", r"'\''")
    return f"ffconcat version 1.0\nfile '{quoted}'\n{OPTIONS.get(source.scheme, '')}".encode()


async def _check_host(source: Source, resolver: AbstractResolver) -> None:
    """Refuse forbidden addresses before ffmpeg is started: it resolves the name once more, by itself."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            await resolver.resolve(source.host, source.port, socket.AF_UNSPEC)
    except (OSError, TimeoutError):
        raise UpstreamUnreachableError(source.label, "name not found") from None


def _path(url: str, policy: FfmpegPolicy) -> Path:
    """Return where the file lies, by the letters of the URL alone."""
    parts = urlsplit(url)
    if policy.files_dir is None:
        raise UpstreamForbiddenError("files are not played here: PENSTOCK_PROXY_FILES_DIR is not set")
    if parts.netloc not in {"", "localhost"}:
        raise UpstreamForbiddenError("a file is of this machine: file:NAME, or file:///PATH")
    if parts.query or parts.fragment:
        raise UpstreamForbiddenError("in the name of a file, ? and # are written %3F and %23")
    name = unquote(parts.path)
    path = Path(os.path.normpath(policy.files_dir / name))
    if CONTROLS.sub("", name) != name.replace(" ", "") or policy.files_dir not in path.parents:
        raise UpstreamForbiddenError("only files below PENSTOCK_PROXY_FILES_DIR are played here")
    return path


def _check_file(source: Source, policy: FfmpegPolicy) -> None:
    """Follow links, and see that the file is there and still below the directory."""
    assert policy.files_dir is not None  # ``parse`` has seen it
    try:
        real = source.path.resolve(strict=True)
    except OSError:
        raise UpstreamForbiddenError("there is no such file") from None
    if policy.files_dir.resolve() not in real.parents:
        raise UpstreamForbiddenError("only files below PENSTOCK_PROXY_FILES_DIR are played here")
    if not real.is_file():
        raise UpstreamForbiddenError("this is no file")


def _now() -> float:
    return asyncio.get_running_loop().time()
