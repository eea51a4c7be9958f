"""Where datagrams are received: the address in a ``udp:`` or ``rtp:`` URL, read and checked. No I/O.

Forms: ``udp://239.0.0.1:5000``, ``udp://SOURCE@232.0.0.1:5000`` (source-specific), ``udp://@:5000`` (unicast, on every
address), ``udp://192.0.2.7:5000`` (an address of this machine), all with ``?interface=NAME-or-ADDRESS`` and
``&source=ADDRESS``.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl

from proxy.errors import UpstreamForbiddenError
from proxy.upstream import address

SCHEMES: Final = frozenset({"udp", "rtp"})
INTERFACE: Final = re.compile(r"[0-9A-Za-z._:-]{1,45}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    """A group, an address of this machine, a name for either, or nothing: every IPv4 address of this machine."""
    port: int
    is_rtp: bool
    source: str = ""
    """Only what this address sends is taken."""
    interface: str = ""
    """Name or address; nothing leaves the choice to the settings and the routes."""

    @property
    def label(self) -> str:
        """For texts: no part of it is secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host or '*'}:{self.port}"


def parse(url: str) -> Endpoint:
    """Raise UpstreamForbiddenError with a text for the one who wrote the URL."""
    parts, port = address.split(url)
    if not port:
        raise UpstreamForbiddenError(f"{parts.scheme} needs a port, as in {parts.scheme}://239.0.0.1:5000")
    if parts.path not in {"", "/"} or parts.fragment:
        raise UpstreamForbiddenError(f"{parts.scheme} has no path")
    host = parts.hostname or ""
    if host and not address.is_host(host):
        raise UpstreamForbiddenError("the upstream's host is neither an address nor a name")
    source, interface = _options(parts)
    if source and address.is_literal(host) and _version(source) != _version(host):
        raise UpstreamForbiddenError("the source and the group are of different IP versions")
    return Endpoint(host, port, parts.scheme == "rtp", source, interface)


def _options(parts: SplitResult) -> tuple[str, str]:
    source = parts.netloc.rpartition("@")[0].strip("[]")
    interface = ""
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "source":
                source = value
            case "interface":
                interface = value
                if not INTERFACE.fullmatch(interface):
                    raise UpstreamForbiddenError("the interface is neither a name nor an address")
            case _:
                raise UpstreamForbiddenError(f"{parts.scheme} knows the parameters interface and source only")
    if source and not address.is_literal(source):
        raise UpstreamForbiddenError("the source is not an IP address")
    return str(ipaddress.ip_address(source)) if source else "", interface


def _version(literal: str) -> int:
    return ipaddress.ip_address(literal).version
