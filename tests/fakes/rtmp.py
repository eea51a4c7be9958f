"""An RTMP server of one stream, for players only: it says what real ones say about beginnings, refusals and ends.

Of what a player sends it looks for nothing but the commands it has to answer (Adobe's specification of RTMP, 1.0).
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from proxy.upstream import demo
from tests.fakes.senders import FFMPEG
from tests.fakes.tcp import serving

SHAKE_BYTES = 1536
CHUNK_BYTES = 1 << 24
SET_CHUNK_SIZE, COMMAND = 1, 20
TAG_HEAD_BYTES, TAG_TAIL_BYTES, FLV_HEAD_BYTES = 11, 4, 13
UNPUBLISHED = "NetStream.Play.UnpublishNotify"
NOT_FOUND = "NetStream.Play.StreamNotFound"
REJECTED = "NetConnection.Connect.Rejected"


class RtmpServer:
    """``refusal`` is the code that players get instead of media; ``ends`` whether the end is said before the line is cut."""

    def __init__(self, flv: bytes) -> None:
        self.port = 0
        self.refusal = ""
        self.ends = True
        self._flv = flv

    def url(self) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/hunter2"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            greeting = await reader.readexactly(1 + SHAKE_BYTES)
            writer.write(b"\x03" + bytes(SHAKE_BYTES) + greeting[1:])
            await reader.readexactly(SHAKE_BYTES)
            writer.write(_message(SET_CHUNK_SIZE, struct.pack(">I", CHUNK_BYTES)))
            await self._answer(reader, writer, "connect", {"code": "NetConnection.Connect.Success"}, REJECTED)
            await self._answer(reader, writer, "createStream", 1.0)
            await _called(reader, "play")
            if self.refusal:
                writer.write(_status("error", self.refusal))
            else:
                writer.write(_status("status", "NetStream.Play.Start"))
                writer.writelines(_message(kind, body, at) for kind, body, at in _tags(self._flv))
                if self.ends:
                    writer.write(_status("status", UNPUBLISHED))
            await writer.drain()
            if self.ends:
                await reader.read()  # until the player has left

    async def _answer(self, reader, writer, command: str, what: dict[str, str] | float, refusal: str = "-") -> None:
        number = await _called(reader, command)
        if self.refusal == refusal:
            fault = {"level": "error", "code": refusal, "description": "not you"}
            writer.write(_message(COMMAND, _amf("_error") + _amf(number) + b"\x05" + _amf(fault)))
        else:
            writer.write(_message(COMMAND, _amf("_result") + _amf(number) + b"\x05" + _amf(what)))


async def _called(reader: asyncio.StreamReader, command: str) -> float:
    """Return the number of the next call of this command."""
    heard = await reader.readuntil(_amf(command) + b"\x00")
    assert heard
    return float(struct.unpack(">d", await reader.readexactly(8))[0])


def _status(level: str, code: str) -> bytes:
    said = {"level": level, "code": code, "description": f"hunter2 is {code.rpartition('.')[2]}"}
    return _message(COMMAND, _amf("onStatus") + _amf(0.0) + b"\x05" + _amf(said), stream=1)


def _message(kind: int, body: bytes, at: int = 0, stream: int = 1) -> bytes:
    return (
        b"\x04"
        + at.to_bytes(3, "big")
        + len(body).to_bytes(3, "big")
        + bytes((kind,))
        + struct.pack("<I", stream)
        + body
    )


def _amf(value: str | float | dict[str, str]) -> bytes:
    if isinstance(value, str):
        return b"\x02" + _name(value)
    if isinstance(value, dict):
        return b"\x03" + b"".join(_name(key) + _amf(held) for key, held in value.items()) + b"\x00\x00\x09"
    return b"\x00" + struct.pack(">d", value)


def _name(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _tags(flv: bytes) -> Iterator[tuple[int, bytes, int]]:
    at = FLV_HEAD_BYTES
    while at + TAG_HEAD_BYTES < len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        body = flv[at + TAG_HEAD_BYTES : at + TAG_HEAD_BYTES + size]
        yield flv[at], body, int.from_bytes(flv[at + 4 : at + 7], "big")
        at += TAG_HEAD_BYTES + size + TAG_TAIL_BYTES


@asynccontextmanager
async def rtmp_server() -> AsyncIterator[RtmpServer]:
    """Serve the demo clip once to each player, on a free port of loopback."""
    assert FFMPEG is not None
    maker = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "error", "-f", "mpegts", "-i", "pipe:0", "-c", "copy", "-f", "flv", "pipe:1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    here = RtmpServer((await maker.communicate(demo.load().content))[0])
    async with serving(here.serve) as here.port:
        yield here
