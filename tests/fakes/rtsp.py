"""An RTSP server (RFC 2326) of one stream: MPEG-TS in RTP, interleaved in the same connection, behind a password."""

import asyncio
import base64
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from proxy.upstream import demo
from tests.fakes.tcp import serving

PASSWORD = "open'sesame"
AUTHORIZATION = "Basic " + base64.b64encode(f"camera:{PASSWORD}".encode()).decode()
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
RTP_PAYLOAD_BYTES = 7 * 188
GOODBYE = b"\x80\xc8\x00\x06" + bytes(24) + b"\x81\xcb\x00\x01" + bytes(4)
"""A sender's report and a BYE (RFC 3550 6.4, 6.6)."""


class RtspServer:
    """``asked`` counts methods; ``left`` is set when a connection is over; ``refusal`` answers DESCRIBE.

    Media go out beside the transport: ffmpeg says TEARDOWN and closes with media unread, so the next packet meets a
    reset, and a transport that fails to write throws away what it has not read yet. A camera reads it.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: Counter[str] = Counter()
        self.left = asyncio.Event()
        self.refusal = ""
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, password: str = PASSWORD) -> str:
        return f"rtsp://camera:{password}@127.0.0.1:{self.port}/live"

    def drop(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def say_goodbye(self) -> None:
        """Tell every player that this is the end; what still comes is of no matter."""
        for writer in self._writers:
            writer.write(b"$\x01" + len(GOODBYE).to_bytes(2, "big") + GOODBYE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing: asyncio.Task[None] | None = None
        self._writers.add(writer)
        async with asyncio.TaskGroup() as group:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while head := await self._request(reader):
                    method = head.split(" ", 1)[0]
                    self.asked[method] += 1
                    writer.write(self._answer(method, head))
                    if method == "PLAY":
                        playing = group.create_task(self._play(writer))
                    if method == "TEARDOWN":
                        break
            if playing is not None:
                playing.cancel()
        self._writers.discard(writer)
        self.left.set()

    async def _request(self, reader: asyncio.StreamReader) -> str:
        """Return the next request; reports of the receiver in between are skipped."""
        while (first := await reader.readexactly(1)) == b"$":
            head = await reader.readexactly(3)
            await reader.readexactly(int.from_bytes(head[1:], "big"))
        return (first + await reader.readuntil(b"\r\n\r\n")).decode()

    def _answer(self, method: str, head: str) -> bytes:
        number = head.partition("CSeq: ")[2].split("\r\n")[0]
        fields, body, status = [f"CSeq: {number}"], "", "200 OK"
        if AUTHORIZATION not in head and method != "OPTIONS":
            status = "401 Unauthorized"
            fields.append('WWW-Authenticate: Basic realm="cam"')
        elif method == "OPTIONS":
            fields.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE" and self.refusal:
            status = self.refusal
        elif method == "DESCRIBE":
            body = SDP
            fields += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            fields += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60"]
        else:
            fields.append("Session: 1")
        return ("\r\n".join([f"RTSP/1.0 {status}", *fields]) + "\r\n\r\n" + body).encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        connection = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
        connection.setblocking(False)
        with connection, suppress(ConnectionError):
            await self._send_media(connection)

    async def _send_media(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        clip, number, sequence = demo.load(), 0, 0
        while True:
            content, start = clip.round(number), 0
            for piece in clip.slices:
                for at in range(start, piece.end, RTP_PAYLOAD_BYTES):
                    payload = content[at : min(at + RTP_PAYLOAD_BYTES, piece.end)]
                    packet = b"\x80\x21" + (sequence % 65536).to_bytes(2, "big") + bytes(8) + payload
                    await loop.sock_sendall(connection, b"$\x00" + len(packet).to_bytes(2, "big") + packet)
                    sequence += 1
                start = piece.end
                await asyncio.sleep(demo.SLICE_SECONDS)
            number += 1


@asynccontextmanager
async def rtsp_server() -> AsyncIterator[RtspServer]:
    """Serve on a free port of loopback."""
    here = RtspServer()
    async with serving(here.serve) as here.port:
        yield here
