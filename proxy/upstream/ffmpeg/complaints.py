"""What ffmpeg says on its standard error, made fit for logs and people: short, without what a URL holds. Pure."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

MASK: Final = "***"
LINES_MAX: Final = 2
CHARACTERS_MAX: Final = 200
SECRET_CHARACTERS_MIN: Final = 3
"""Shorter parts of a URL are found in any text."""
SPEAKER: Final = r"^(\[[^\]]* @ 0x[0-9a-f]+\] )*"
"""Which part of ffmpeg speaks, with an address in its memory."""
GRAVE: Final = re.compile(SPEAKER + r"\[(fatal|error)\] ")
QUIET: Final = re.compile(SPEAKER + r"\[(warning|info|verbose|debug|trace)\] ")
CONTEXT: Final = re.compile(SPEAKER + r"(\[(fatal|error)\] )?(pipe:0: )?")
URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/\S*")
ECHO: Final = re.compile(r"^Impossible to open|^Error opening input|^Last message repeated|^\s*$")
"""Lines that repeat the URL or another line, and say nothing else."""
UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\uffff]+")


def read(text: str, url: str) -> str:
    """Return the last that was said about ``url``, without any part of it; nothing if nothing was said."""
    said = [_clean(CONTEXT.sub("", line), url) for line in _grave(text)]
    telling = list(dict.fromkeys(line for line in said if not ECHO.match(line)))
    return "; ".join(telling[-LINES_MAX:])[:CHARACTERS_MAX]


def _grave(text: str) -> Iterator[str]:
    """Leave out what is no error; a line without a mark belongs to the one before it."""
    lines = text.splitlines()
    is_quiet = any(map(QUIET.match, lines))  # then the first line may be the rest of one that was cut off
    for line in lines:
        if QUIET.match(line):
            is_quiet = True
        elif GRAVE.match(line):
            is_quiet = False
        if not is_quiet:
            yield line


def _clean(line: str, url: str) -> str:
    line = URL.sub(MASK, UNPRINTABLE.sub(" ", line))
    for secret in sorted(set(_parts(url)), key=len, reverse=True):
        if len(secret) >= SECRET_CHARACTERS_MIN:
            line = line.replace(secret, MASK)
    return line.strip()


def _parts(url: str) -> Iterator[str]:
    """Everything in a URL that may be secret, as it stands there and as it is meant."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    pieces = [userinfo, *userinfo.split(":"), *parts.path.split("/"), parts.path.strip("/"), parts.query]
    pieces += [value for _, value in parse_qsl(parts.query)]
    pieces += [piece.partition("=")[2] for piece in parts.query.split("&")]
    for piece in pieces:
        yield piece
        yield unquote(piece)
