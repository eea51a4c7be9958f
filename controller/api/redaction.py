"""Upstream addresses without their credentials: what may be shown to everybody who may read the API."""

import base64
import functools
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

MASK: Final = "***"
REMEMBERED_MAX: Final = 4096
"""A page of streams shows the same addresses again and again."""

_PARAMETER: Final = re.compile(r"([^=&;?#]+)=([^&;#]*)")
_SHOWN: Final = frozenset(
    {"channel", "codec", "format", "id", "infohash", "interface", "latency", "localaddr", "mode", "pkt_size", "profile"}
    | {"program", "quality", "stream", "transport", "ttl", "type", "variant"}
)
"""Parameters whose values tell operators something and let nobody in. Any other may be somebody's token."""

_WITH_SOURCE: Final = frozenset({"udp", "rtp"})
"""What stands before the ``@`` of these is the address that sends, and no secret."""
_OF_ACCOUNT: Final = re.compile(r"^(/(?:live|movie|series|timeshift|play))?/[^/]+/[^/]+(?=/\d+(?:\.\w+)?$)")
"""User and password as IPTV panels put them into a path, before a channel's number."""
_STREAM_KEY: Final = re.compile(r"^(/[^/]+)/.+")
"""Of ``rtmp:``: behind the application's name stands what lets one in."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:(?:\\?/){2}(?:(?:(?!:(?:\\?/){2})[^\"\n])*@)?[^\s\"'<>]*")
"""Up to its last ``@`` it may hold anything but a quotation mark: passwords are not always escaped."""
_ENCODED_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}%(?:25)*3A(?:%(?:25)*2F){2}[^\s\"'<>]*", re.IGNORECASE)
_LOGIN: Final = re.compile(r"[^\s\"'/@:,{}\[\]]{1,128}:[^\s\"'/@]{1,128}@(?=[\w\[])")
"""User and password before a host that has no scheme."""
_HEADERS: Final = re.compile(r'("headers"\s*:\s*\{)([^}]*)')
_VALUE: Final = re.compile(r'(:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)')
_TELLTALE: Final = r"[\w-]{0,40}(?:pass|pwd|secret|token|auth|cookie|credential|api[_-]?key|login|user)[\w-]{0,40}"
"""Names of what lets somebody in."""
_SECRET_FIELD: Final = re.compile(rf'("{_TELLTALE}"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s",}}\]]+)', re.IGNORECASE)
_SECRET_WORD: Final = re.compile(rf"\b({_TELLTALE}\s*[=:]\s*)(?![\s\"])[^\r\n,;&\"}}]+", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\u00(2[13-9a-bd-f]|3[0-9abdf]|[46][0-9a-f]|5[0-9abdef]|7[0-9a-e])", re.IGNORECASE)
"""Letters and signs that JSON allows to be escaped, but for quotation marks and what ends an address."""
_RUN: Final = re.compile(r"[A-Za-z0-9+/_=-]{12,}(?:(?:\s*?\n|(?:\\r)?\\n)[A-Za-z0-9+/_=-]+)*")
"""Over the ends of lines, too."""
_LINE_END: Final = re.compile(r"\s|\\[rn]")
_LONG_RUN: Final = 37
"""Longer than a UUID. What is so long says nothing to people, compressed or encrypted as it may be."""
_WORDS: Final = re.compile(rb"[\x20-\x7e]{4}")


@functools.lru_cache(maxsize=REMEMBERED_MAX)
def redact(url: str) -> str:
    """Replace by ``***`` what may let somebody in: user and password, also in a known kind of path, and parameters."""
    try:
        parts = urlsplit(url)
        _, at, host = parts.netloc.rpartition("@")
        netloc = f"{MASK}@{host}" if at and parts.scheme not in _WITH_SOURCE else parts.netloc
        path = _path(parts.scheme, parts.path)
        return urlunsplit(parts._replace(netloc=netloc, path=path, query=_PARAMETER.sub(_parameter, parts.query)))
    except ValueError:
        # No parser understands it: better to show nothing than half a password.
        return MASK


def redact_text(text: str) -> str:
    """Do the same to all addresses in a text that could not be read, and to what looks like a secret or hides one."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    text = _ENCODED_URL.sub(MASK, text)
    shown, end = "", 0
    for found in _URL.finditer(text):
        shown += _redact_words(text[end : found.start()]) + redact(found[0].replace("\\/", "/"))
        end = found.end()
    shown += _redact_words(text[end:])
    shown = _HEADERS.sub(lambda found: found[1] + _VALUE.sub(rf'\1"{MASK}"', found[2]), shown)
    return _SECRET_WORD.sub(rf"\1{MASK}", _SECRET_FIELD.sub(rf'\1"{MASK}"', shown))


def tells(some: bytes) -> bool:
    """Whether there are words in it, of one byte or of two a letter."""
    return _WORDS.search(some.replace(b"\0", b"")) is not None


def _redact_words(text: str) -> str:
    text = _LOGIN.sub(f"{MASK}@", text)
    return _RUN.sub(lambda found: MASK if _hides(found[0]) else found[0], text)


def _hides(run: str) -> bool:
    """Whether it is too long to be said to people, or is text when it is decoded."""
    run = _LINE_END.sub("", run)
    return len(run) >= _LONG_RUN or any(_is_text(decoded) for decoded in _decoded(run))


def _decoded(run: str) -> Iterator[bytes]:
    with suppress(ValueError):
        yield bytes.fromhex(run[: len(run) // 2 * 2])
    plain = run.replace("-", "+").replace("_", "/").replace("=", "")
    for at in range(4):  # what stands before it may belong to it or not
        with suppress(ValueError):
            yield base64.b64decode(plain[at : at + (len(plain) - at) // 4 * 4])
    with suppress(ValueError):
        yield base64.b32decode(run.rstrip("=").upper()[: len(run.rstrip("=")) // 8 * 8])


def _is_text(decoded: bytes) -> bool:
    letters = decoded.replace(b"\0", b"")  # two bytes a letter, perhaps
    return len(letters) > 5 and all(0x20 <= letter < 0x7F or letter in b"\t\r\n" for letter in letters)


def _path(scheme: str, path: str) -> str:
    if scheme.startswith("rtmp"):
        return _STREAM_KEY.sub(rf"\1/{MASK}", path)
    return _OF_ACCOUNT.sub(rf"\1/{MASK}/{MASK}", path) if scheme in ("http", "https") else path


def _parameter(found: re.Match[str]) -> str:
    return found[0] if found[1].lower() in _SHOWN else f"{found[1]}={MASK}"
