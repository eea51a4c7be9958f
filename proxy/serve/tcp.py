"""What TCP itself knows about a viewer: whether it is still there, and how much of ours it has not taken.

Linux only. A viewer that does not read is alive (its kernel answers): the slow-viewer rule is for it. One whose
kernel answers nothing has vanished. TCP_USER_TIMEOUT cannot tell the two apart (it also ends connections whose peer
has closed its window), so retransmissions without any acknowledgement are looked for instead; sockets that carry
nothing are probed by TCP's own keepalive.
"""

import fcntl
import socket
import struct
import termios
from asyncio import WriteTransport
from typing import Final

VANISHED_SECONDS: Final = 8.0
UNSENT_BYTES_MAX: Final = 512 * 1024
"""So much may wait in a socket beyond what the network takes: more would only be stale when it arrives."""
UNSENT_SEGMENT_BYTES_MAX: Final = 2 * 1024 * 1024
"""The same for HLS segments, which are as good later: fewer and larger pieces cost less."""
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 4, 2, 2
_RETRIES_MIN: Final = 2
_INFO_BYTES: Final = 104
_LAST_ACK_OFFSET: Final = 56  # struct tcp_info, linux/tcp.h: tcpi_last_ack_recv, milliseconds


def socket_of(transport: WriteTransport) -> socket.socket | None:
    """Return the TCP socket under a transport, None when there is none."""
    found: socket.socket | None = transport.get_extra_info("socket")
    return found if found is not None and found.family in (socket.AF_INET, socket.AF_INET6) else None


def is_plain(transport: WriteTransport) -> bool:
    """Whether what is written to the socket, past the transport, arrives as it is."""
    return transport.get_extra_info("sslcontext") is None


def prepare(sock: socket.socket) -> None:
    """Let TCP find out by itself when the peer of an idle connection is gone, and keep its queue short."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


def expect_segments(sock: socket.socket) -> None:
    """Let more wait in the queue than ``prepare`` does."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_SEGMENT_BYTES_MAX)


def has_vanished(sock: socket.socket) -> bool:
    """Whether the peer's kernel has left our repeated packets unanswered for ``VANISHED_SECONDS``."""
    if not unsent_bytes(sock):  # there is nothing to repeat; this is asked for every viewer, and costs far less
        return False
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    retransmits, probes = info[2], info[3]
    (last_ack_milliseconds,) = struct.unpack_from("=I", info, _LAST_ACK_OFFSET)
    silent = bool(last_ack_milliseconds > VANISHED_SECONDS * 1000)
    return silent and max(retransmits, probes) >= _RETRIES_MIN


def unsent_bytes(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("=i", answer)[0])


def reset(transport: WriteTransport) -> None:
    """End the connection with a reset: what waits in its queue is thrown away."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
