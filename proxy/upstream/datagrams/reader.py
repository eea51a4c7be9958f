"""Reads MPEG-TS from UDP datagrams, with RTP around it or without: unicast, multicast, source-specific multicast.

The socket is open, and the group joined, exactly as long as the reader is. What is missing is counted and handed over
as ``Losses``. A sender cannot be asked to wait: what nobody reads in time, the kernel drops, and that is counted too.
"""

import asyncio
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

from aiohttp.abc import AbstractResolver

from proxy.core.datagrams import Intake
from proxy.errors import UpstreamLostError, UpstreamUnreachableError
from proxy.upstream.datagrams import interfaces
from proxy.upstream.datagrams.endpoint import Endpoint, parse
from proxy.upstream.descriptors import readable
from proxy.upstream.items import Discontinuity, Losses, Reader

DATAGRAM_BYTES_MAX: Final = 65535
TURN_DATAGRAMS_MAX: Final = 256
"""So many are read before others have their turn."""
GATHER_SECONDS: Final = 0.01
GATHERED_DATAGRAMS: Final = 64
"""After a turn with fewer, more are let come together; the socket's buffer holds several times as many."""
RESOLVE_SECONDS_MAX: Final = 5.0
SO_RCVBUFFORCE: Final = 33
SO_MEMINFO: Final = 55
MEMINFO: Final = struct.Struct("9I")
MCAST_JOIN_GROUP: Final = 42
MCAST_JOIN_SOURCE_GROUP: Final = 46
IP_MULTICAST_ALL: Final = 49
IPV6_MULTICAST_ALL: Final = 29
MAPPED: Final = "::ffff:"
"""Before an IPv4 address on a socket for both versions."""


@dataclass(frozen=True, slots=True)
class DatagramPolicy:
    interface: str = ""
    """For groups, where the URL names none; nothing leaves it to the routes."""
    buffer_bytes: int = 2 * 1024 * 1024
    """Asked of the kernel for a socket; without privileges it grants ``net.core.rmem_max`` at most."""


async def read(url: str, policy: DatagramPolicy, resolver: AbstractResolver) -> Reader:
    """Yield media as it comes, and never end."""
    endpoint = parse(url)
    host = await _resolve(endpoint, resolver)
    try:
        sock = _open(host, endpoint, policy)
    except OSError as error:
        raise UpstreamUnreachableError(endpoint.label, error.strerror or str(error)) from None
    with sock:
        intake = Intake(rtp_only=endpoint.is_rtp, source=endpoint.source)
        tally = _Tally(intake, sock)
        now = asyncio.get_running_loop().time
        while True:
            await readable(sock.fileno(), intake.due)
            taken = _take(sock, intake, now())
            for run in intake.drain(now()):
                if run.broken:
                    yield Discontinuity()
                yield run.media
            losses = tally.news()
            if losses is not None:
                yield losses
            if taken < GATHERED_DATAGRAMS:
                await asyncio.sleep(GATHER_SECONDS)


class _Tally:
    """What went missing since it was asked last."""

    def __init__(self, intake: Intake, sock: socket.socket) -> None:
        self._intake = intake
        self._sock = sock
        self._lost = self._reordered = 0

    def news(self) -> Losses | None:
        """Numbered datagrams are missed by their numbers; of the others only the kernel's own drops are known."""
        lost = self._intake.lost if self._intake.is_rtp else _dropped(self._sock)
        reordered = self._intake.reordered
        if (lost, reordered) == (self._lost, self._reordered):
            return None
        losses = Losses(max(0, lost - self._lost), max(0, reordered - self._reordered))
        self._lost, self._reordered = lost, reordered
        return losses


async def _resolve(endpoint: Endpoint, resolver: AbstractResolver) -> str:
    """Return the address to bind to; the resolver refuses forbidden ones."""
    host = endpoint.host or "0.0.0.0"  # noqa: S104 - whoever announces ``udp://@:PORT`` asks for every address
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            found = await resolver.resolve(host, endpoint.port, socket.AF_UNSPEC)
    except (OSError, TimeoutError):
        raise UpstreamUnreachableError(endpoint.label, "name not found") from None
    return found[0]["host"]


def _open(host: str, endpoint: Endpoint, policy: DatagramPolicy) -> socket.socket:
    """Bind and join. On Linux a socket bound to a group gets what is sent to that group, and nothing else."""
    is_group = ipaddress.ip_address(host).is_multicast
    named = endpoint.interface or (policy.interface if is_group else "")
    index = interfaces.index_of(named) if named else 0
    family, kind, proto, _, place = socket.getaddrinfo(
        host, endpoint.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        _enlarge(sock, policy.buffer_bytes)
        if is_group:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others on this machine may listen too
        elif index:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, socket.if_indextoname(index).encode())
        if family == socket.AF_INET6 and is_group:
            place = (host, endpoint.port, 0, index)
        sock.bind(place)
        if is_group:
            _join(sock, host, endpoint.source, index)
    except BaseException:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _join(sock: socket.socket, group: str, source: str, index: int) -> None:
    """Join by the requests that are the same for both IP versions (RFC 3678, section 5)."""
    is_ipv4 = sock.family == socket.AF_INET
    level = socket.IPPROTO_IP if is_ipv4 else socket.IPPROTO_IPV6
    # Without this, Linux delivers what any socket of the machine has joined, on any interface, from any source.
    sock.setsockopt(level, IP_MULTICAST_ALL if is_ipv4 else IPV6_MULTICAST_ALL, 0)
    request = struct.pack("@I4x128s", index, _storage(group))
    if source:
        sock.setsockopt(level, MCAST_JOIN_SOURCE_GROUP, request + _storage(source))
    else:
        sock.setsockopt(level, MCAST_JOIN_GROUP, request)


def _storage(address: str) -> bytes:
    """``struct sockaddr_storage``."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 4:
        return struct.pack("=HH4s120x", socket.AF_INET, 0, ip.packed)
    return struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, ip.packed, 0)


def _take(sock: socket.socket, intake: Intake, now: float) -> int:
    """Read what is there, without waiting; return how many datagrams that were."""
    buffer = memoryview(bytearray(DATAGRAM_BYTES_MAX))
    place: Any
    for count in range(TURN_DATAGRAMS_MAX):
        try:
            size, place = sock.recvfrom_into(buffer)
        except BlockingIOError:
            return count
        except OSError as error:
            raise UpstreamLostError(error.strerror or "the socket failed") from None
        intake.take(bytes(buffer[:size]), str(place[0]).removeprefix(MAPPED).partition("%")[0], place[1], now)
    return TURN_DATAGRAMS_MAX


def _dropped(sock: socket.socket) -> int:
    """How many datagrams the kernel has thrown away because nobody read them in time."""
    return int(MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[-1])
