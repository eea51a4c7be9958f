"""Which addresses an upstream may have. Link-local and cloud metadata addresses are refused unless allowed.

A URL that somebody announced must not make this machine read its own cloud's secrets. Checked are the addresses that
are really connected to: literals in URLs and every resolved name, for the first request and for each redirect.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from proxy.errors import UpstreamForbiddenError

FORBIDDEN: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "fe80::/10",  # link-local
        "fd00:ec2::254/128",  # AWS metadata
        "100.100.100.200/32",  # Alibaba metadata
        "168.63.129.16/32",  # Azure wire server
        "192.0.0.192/32",  # Oracle metadata
    )
)
WRAPPERS: Final = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv4-mapped addresses and NAT64: the last 32 bits are the IPv4 address that is reached."""

NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?\.?")
CONTROLS: Final = re.compile(r"[\x00-\x20\x7f]")
"""No URL holds these, a space among them."""


def split(url: str) -> tuple[SplitResult, int | None]:
    """Return the parts of a URL and its port; raise UpstreamForbiddenError when it cannot be read."""
    if CONTROLS.search(url):
        raise UpstreamForbiddenError("the upstream's URL has a space or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UpstreamForbiddenError("the upstream's URL cannot be read") from None
    return parts, port


def is_literal(text: str) -> bool:
    """Whether it is an IP address (without brackets)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Whether it is an IP address, or may be a name."""
    return is_literal(text) or NAME.fullmatch(text) is not None


def is_forbidden(address: str) -> bool:
    """Say whether an IP address (without brackets) is one that upstreams may not have."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and any(ip in wrapper for wrapper in WRAPPERS):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return any(ip.version == network.version and ip in network for network in FORBIDDEN)


def check_literal(host: str) -> None:
    """Raise UpstreamForbiddenError if ``host`` is a forbidden address; names are checked when they are resolved."""
    try:
        forbidden = is_forbidden(host)
    except ValueError:
        return
    if forbidden:
        raise UpstreamForbiddenError("link-local and metadata addresses are not allowed as upstreams")
