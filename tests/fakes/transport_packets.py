"""Hand-made MPEG-TS packets for tests: small enough to reason about."""

from proxy.core import psi

PMT_PID = 0x1000
VIDEO_PID = 0x100
AUDIO_PID = 0x101
H264, HEVC, MPEG2, AAC = 0x1B, 0x24, 0x02, 0x0F
KEY_H264 = b"\0\0\0\1\x09\xf0\0\0\0\1\x67\x42\0\0\0\0\1\x68\xce\0\0\0\1\x65\x88\x80\x80\x80\x80"
OTHER_H264 = b"\0\0\0\1\x09\xf0\0\0\0\1\x41\x9a\x80\x80\x80\x80"


def packet(pid: int, counter: int = 0, *, body: bytes = b"", start: bool = False, field: bytes | None = None) -> bytes:
    """One packet; ``field`` is an adaptation field's content (flags first), stuffed so that the body fits."""
    control = 0x10 if body else 0
    adaptation = b""
    room = 184 - len(body)
    if field is not None or room:
        control |= 0x20
        content = field or b""
        if room - 1 > 0 and not content:
            content = b"\0"
        adaptation = bytes((room - 1,)) + content + b"\xff" * (room - 1 - len(content))
    head = bytes((0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, control | counter & 0x0F))
    made = head + adaptation + body
    assert len(made) == 188
    return made


def pat_section(
    programs: dict[int, int], *, version: int = 0, current: bool = True, number: int = 0, last: int = 0
) -> bytes:
    entries = b"".join(n.to_bytes(2) + (0xE000 | pid).to_bytes(2) for n, pid in programs.items())
    body = b"\0\1" + bytes((0xC0 | version << 1 | current, number, last)) + entries
    return psi.sealed(b"\0" + (0xB000 | len(body) + 4).to_bytes(2) + body)


def pmt_section(
    streams: list[tuple[int, int, bytes]],
    *,
    version: int = 0,
    current: bool = True,
    pcr_pid: int = VIDEO_PID,
    info: bytes = b"",
) -> bytes:
    listed = b"".join(
        bytes((kind,)) + (0xE000 | pid).to_bytes(2) + (0xF000 | len(extra)).to_bytes(2) + extra
        for kind, pid, extra in streams
    )
    body = b"\0\1" + bytes((0xC0 | version << 1 | current, 0, 0)) + (0xE000 | pcr_pid).to_bytes(2)
    body += (0xF000 | len(info)).to_bytes(2) + info + listed
    return psi.sealed(b"\2" + (0xB000 | len(body) + 4).to_bytes(2) + body)


def tables(counter: int = 0, *, kind: int = H264, version: int = 0, audio: bool = False) -> bytes:
    """PAT and PMT of one programme with one video stream, and maybe sound."""
    streams = [(kind, VIDEO_PID, b"")] + ([(AAC, AUDIO_PID, b"")] if audio else [])
    pat = psi.packetize(0, (pat_section({1: PMT_PID}),), counter)
    return pat + psi.packetize(PMT_PID, (pmt_section(streams, version=version),), counter)


def pes(unit: bytes, pts: int | None = None, stream_id: int = 0xE0) -> bytes:
    """A PES packet of unbounded length with this elementary data."""
    if pts is None:
        return b"\0\0\1" + bytes((stream_id, 0, 0, 0x80, 0, 0)) + unit
    stamp = bytes(
        (
            0x21 | pts >> 29 & 0x0E,
            pts >> 22 & 0xFF,
            0x01 | pts >> 14 & 0xFE,
            pts >> 7 & 0xFF,
            0x01 | pts << 1 & 0xFE,
        )
    )
    return b"\0\0\1" + bytes((stream_id, 0, 0, 0x80, 0x80, 5)) + stamp + unit


def picture(
    unit: bytes, counter: int = 0, *, pts: int | None = None, pid: int = VIDEO_PID, marked: bool = False
) -> bytes:
    """The packet that a picture begins with."""
    return packet(pid, counter, body=pes(unit, pts)[:180], start=True, field=b"\x40" if marked else None)


def clock(pcr_seconds: float, pid: int = VIDEO_PID, counter: int = 0) -> bytes:
    """A packet with nothing but a programme clock."""
    ticks = int(pcr_seconds * 27_000_000)
    base, extension = divmod(ticks, 300)
    field = b"\x10" + (base >> 1).to_bytes(4) + bytes(((base & 1) << 7 | 0x7E | extension >> 8, extension & 0xFF))
    return packet(pid, counter, field=field)
