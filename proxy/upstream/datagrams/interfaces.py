"""The network interfaces of this machine: which one a name or an address means. Linux, 64 bits."""

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SIOCGIFCONF: Final = 0x8912
ENTRY_BYTES: Final = 40
"""``struct ifreq``: a name of 16 bytes, then a ``sockaddr``, whose IPv4 address begins at its fifth byte."""
ENTRIES_MAX: Final = 1024
IPV6_TABLE: Final = Path("/proc/net/if_inet6")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def index_of(text: str) -> int:
    """Return the index of the interface with this name, or with this address; raise OSError when there is none."""
    try:
        wished = ipaddress.ip_address(text)
    except ValueError:
        return socket.if_nametoindex(text)
    found = _ipv4() if wished.version == 4 else _ipv6()
    for address, name in found:
        if address == wished:
            return socket.if_nametoindex(name)
    raise OSError("no interface has this address")


def _ipv4() -> Iterator[tuple[Address, str]]:
    table = array.array("B", bytes(ENTRY_BYTES * ENTRIES_MAX))
    place, size = table.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        filled, _ = struct.unpack("iL", fcntl.ioctl(sock, SIOCGIFCONF, struct.pack("iL", size, place)))
    content = table.tobytes()
    for at in range(0, filled, ENTRY_BYTES):
        name = content[at : at + 16].partition(b"\0")[0].decode(errors="replace")
        yield ipaddress.IPv4Address(content[at + 20 : at + 24]), name.partition(":")[0]


def _ipv6() -> Iterator[tuple[Address, str]]:
    if not IPV6_TABLE.exists():  # a kernel without it
        return
    for line in IPV6_TABLE.read_text().splitlines():
        address, *_, name = line.split()
        yield ipaddress.IPv6Address(int(address, 16)), name
