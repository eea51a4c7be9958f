"""Upstream addresses without their credentials: what may be shown to everybody who may read the API."""

import functools
import re
from urllib.parse import urlsplit, urlunsplit

MASK = "***"
REMEMBERED_MAX = 4096
"""A page of streams shows the same addresses again and again."""

_SECRET = re.compile(
    r"(?i)(?<![^?&;])([^=&;?#]*(?:token|secret|passw|pwd|passphrase|signature|credential|apikey|api_key|streamid|auth)"
    r"[^=&;?#]*|key|sig|pass|user|username|login)=([^&;#]*)"
)

_WITH_SOURCE = frozenset({"udp", "rtp"})
"""What stands before the ``@`` of these is the address that sends, and no secret."""


@functools.lru_cache(maxsize=REMEMBERED_MAX)
def redact(url: str) -> str:
    """Replace the user and password of a URL, and the values of parameters that sound like secrets, by ``***``."""
    try:
        parts = urlsplit(url)
        _, at, host = parts.netloc.rpartition("@")
        netloc = f"{MASK}@{host}" if at and parts.scheme not in _WITH_SOURCE else parts.netloc
        return urlunsplit(parts._replace(netloc=netloc, query=_SECRET.sub(rf"\1={MASK}", parts.query)))
    except ValueError:
        # No parser understands it: better to show nothing than half a password.
        return MASK
