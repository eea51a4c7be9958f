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
CONTEXT: Final = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+|^pipe:0: ")
"""Which part of ffmpeg speaks, with an address in its memory."""
URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/\S*")
ECHO: Final = re.compile(r"^Impossible to open|^Error opening input|^Last message repeated|^\s*$")
"""Lines that repeat the URL or another line, and say nothing else."""
UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\uffff]+")


def read(text: str, url: str) -> str:
    """Return the last that was said about ``url``, without any part of it; nothing if nothing was said."""
    said = [_clean(CONTEXT.sub("", line), url) for line in text.splitlines()]
    telling = list(dict.fromkeys(line for line in said if not ECHO.match(line)))
    return "; ".join(telling[-LINES_MAX:])[:CHARACTERS_MAX]


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
