"""Upstream addresses without their credentials: what may be shown to everybody who may read the API."""

import functools
import re
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
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}[^\s\"'<>]*")
_HEADERS: Final = re.compile(r'("headers"\s*:\s*\{)([^}]*)')
_VALUE: Final = re.compile(r'(:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)')


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
    """Do the same to all addresses in a text that could not be read, and to what looks like their request headers."""
    shown = _URL.sub(lambda found: redact(found[0].replace("\\/", "/")), text)
    return _HEADERS.sub(lambda found: found[1] + _VALUE.sub(rf'\1"{MASK}"', found[2]), shown)


def _path(scheme: str, path: str) -> str:
    if scheme.startswith("rtmp"):
        return _STREAM_KEY.sub(rf"\1/{MASK}", path)
    return _OF_ACCOUNT.sub(rf"\1/{MASK}/{MASK}", path) if scheme in ("http", "https") else path


def _parameter(found: re.Match[str]) -> str:
    return found[0] if found[1].lower() in _SHOWN else f"{found[1]}={MASK}"
