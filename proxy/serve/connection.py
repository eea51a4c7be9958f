"""A viewer's connection: aiohttp's, with a short way past it for what HLS viewers ask for again and again.

The short way is taken between two of aiohttp's answers, when nothing is under way on the connection, for requests that
came whole and alone. Whatever aiohttp has been given that is not such a request (a body, several at once, half a one)
makes the connection its own for good: only its parser knows then where the next request begins.
"""

import asyncio
from typing import Any, Final, cast

from aiohttp import web
from typing_extensions import override

from proxy.serve import tcp
from proxy.serve.ranges import KernelSend
from proxy.serve.shortcut import PLAYLIST, Asked, Shortcut, parse

_OPTIONS: Final[dict[str, Any]] = {"access_log": None}
_END: Final = b"\r\n\r\n"
_PLAIN: Final = (b"GET ", b"HEAD ", b"OPTIONS ")
_BODIES: Final = (b"content-length", b"transfer-encoding", b"upgrade")


def is_whole(data: bytes) -> bool:
    """Whether these bytes are one request without a body, from its beginning to its end."""
    if not data.startswith(_PLAIN) or data.find(_END) != len(data) - len(_END):
        return False
    lowered = data.lower()
    return not any(name in lowered for name in _BODIES)


class Connection(web.RequestHandler):
    """See the module."""

    __slots__ = ("_address", "_between", "_held", "_sending", "_shortcut")

    def __init__(self, manager: web.Server, shortcut: Shortcut) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **_OPTIONS)
        self._shortcut = shortcut
        self._address = ""
        self._between = False
        """Whether what comes next is the beginning of a request."""
        self._sending: KernelSend | None = None
        self._held = b""
        """What came while an answer was being sent."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        writer = cast("asyncio.WriteTransport", transport)
        sock = tcp.socket_of(writer)
        if sock is not None:
            tcp.prepare(sock)
        if sock is not None and tcp.is_plain(writer):
            self._between = True
            self._address = str(transport.get_extra_info("peername")[0])

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        if self._sending is not None:
            self._sending.give_up()
        if self.transport is not None:
            self._shortcut.hang_up(self.transport)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        transport = self.transport
        if self._sending is not None and transport is not None:
            self._held += data
            transport.pause_reading()
            return
        if self._between:
            asked = parse(data) if self._is_idle else None
            if asked is not None and self._answers(asked):
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                return
            self._between = is_whole(data)
        super().data_received(data)

    @property
    def _is_idle(self) -> bool:
        """Whether aiohttp has answered all that it was given, and waits for more."""
        waits = self._waiter is not None and not self._waiter.done()
        return waits and not self._messages and not self._close and not self._force_close

    def _answers(self, asked: Asked) -> bool:
        """Answer it, or begin to; return whether that could be done."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if asked.name == PLAYLIST:
            answer = self._shortcut.playlist(asked, transport, self._address)
            if answer is not None:
                transport.write(answer)
            return answer is not None
        self._sending = self._shortcut.segment(asked, transport, self._address, self._ended)
        if self._sending is None:
            return False
        self._sending.begin()
        return True

    def _ended(self, error: OSError | None) -> None:
        self._sending = None
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if error is not None:
            transport.abort()
        elif self._held:
            data, self._held = self._held, b""
            self._between = False
            transport.resume_reading()
            self.data_received(data)
