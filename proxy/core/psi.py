"""Programme tables of MPEG-TS (ISO/IEC 13818-1, 2.4.4): assemble, parse and write PAT and PMT sections.

Pure. Sections come rarely (some ten a second), so plain Python per packet is fine here and nowhere else in the core.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

PACKET_BYTES = 188
SYNC = 0x47
PID_PAT = 0
PID_NULL = 0x1FFF
TABLE_PAT = 0x00
TABLE_PMT = 0x02
SECTION_BYTES_MAX = 1024
PROGRAMS_MAX = 32
"""Of a multi-programme stream, so many PMTs are followed; the others pass through unread."""
PAT_SECTIONS_MAX = 4
"""Of a PAT in several sections, so many are followed: one alone may name 253 programmes."""


class Codec(StrEnum):
    """What the index needs to know of an elementary stream."""

    H264 = "h264"
    H265 = "h265"
    MPEG2 = "mpeg2"
    MPEG4 = "mpeg4"
    VIDEO = "video"
    """Video whose pictures are not looked into: only the random access indicator marks its joins."""
    AUDIO = "audio"
    OTHER = "other"


NOT_VIDEO = (Codec.AUDIO, Codec.OTHER)

_STREAM_TYPES = {
    0x01: Codec.MPEG2,
    0x02: Codec.MPEG2,
    0x10: Codec.MPEG4,
    0x1B: Codec.H264,
    0x24: Codec.H265,
    0x33: Codec.VIDEO,
    0x42: Codec.VIDEO,
    0xD1: Codec.VIDEO,
    0xD2: Codec.VIDEO,
    0xEA: Codec.VIDEO,
} | dict.fromkeys((0x03, 0x04, 0x0F, 0x11, 0x1C, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87), Codec.AUDIO)
_PRIVATE_PES = 0x06
_REGISTRATION = 0x05
_AUDIO_DESCRIPTORS = (0x6A, 0x7A, 0x7B, 0x7C, 0x81)  # AC-3, E-AC-3, DTS, AAC (ETSI EN 300 468), AC-3 (ATSC)
_REGISTERED = {
    b"HEVC": Codec.H265,
    b"AV01": Codec.VIDEO,
    b"VVC ": Codec.VIDEO,
    b"Opus": Codec.AUDIO,
    b"AC-3": Codec.AUDIO,
    b"EAC3": Codec.AUDIO,
    b"BSSD": Codec.AUDIO,
}


@dataclass(frozen=True, slots=True)
class Stream:
    """One elementary stream of a programme."""

    pid: int
    codec: Codec


@dataclass(frozen=True, slots=True)
class Program:
    """One programme as its PMT tells it; ``section`` is that PMT, byte for byte."""

    pcr_pid: int
    streams: tuple[Stream, ...]
    section: bytes


@dataclass(frozen=True, slots=True)
class Tables:
    """What is known of PAT and PMTs now. Immutable: a random access point keeps the tables it was seen with.

    ``counters`` holds the continuity counter last seen on each table's PID, so that a copy written for a joining
    viewer ends on it and the stream's next table continues it.
    """

    pat: tuple[bytes, ...] = ()
    pmt_pids: tuple[int, ...] = ()
    programs: dict[int, Program] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=dict)

    @property
    def reference(self) -> Stream | None:
        """The stream whose pictures (or PES starts) are the joins: the first video, else audio, else anything."""
        streams = [s for pid in self.pmt_pids if pid in self.programs for s in self.programs[pid].streams]
        video = (stream for stream in streams if stream.codec not in NOT_VIDEO)
        audio = (stream for stream in streams if stream.codec is Codec.AUDIO)
        return next(video, None) or next(audio, None) or next(iter(streams), None)

    @property
    def pcr_pid(self) -> int | None:
        return next((self.programs[pid].pcr_pid for pid in self.pmt_pids if pid in self.programs), None)

    def packets(self) -> bytes:
        """PAT and every known PMT as whole packets, their counters ending where the stream's own stand."""
        parts = [packetize(PID_PAT, self.pat, self.counters[PID_PAT])]
        parts += [
            packetize(pid, (self.programs[pid].section,), self.counters[pid])
            for pid in self.pmt_pids
            if pid in self.programs
        ]
        return b"".join(parts)

    def counted(self, pid: int, counter: int) -> "Tables":
        """Note the counter of a packet of a table. Written out: ``replace`` takes its time, and tables come often."""
        return Tables(self.pat, self.pmt_pids, self.programs, {**self.counters, pid: counter})

    def with_pat(self, sections: tuple[bytes, ...], pmt_pids: tuple[int, ...]) -> "Tables":
        """Take a new PAT; PMTs it no longer names are forgotten."""
        kept = {pid: program for pid, program in self.programs.items() if pid in pmt_pids}
        counters = {pid: counter for pid, counter in self.counters.items() if pid in (PID_PAT, *pmt_pids)}
        return replace(self, pat=sections, pmt_pids=pmt_pids, programs=kept, counters=counters)

    def with_program(self, pid: int, program: Program) -> "Tables":
        return replace(self, programs={**self.programs, pid: program})


class Sections:
    """Assembles the sections of one PID from its packets, however they are split over them."""

    __slots__ = ("_buffer", "_counter")

    def __init__(self) -> None:
        self._buffer: bytearray | None = None  # None: in the middle of something whose start was missed
        self._counter = -1

    @property
    def is_open(self) -> bool:
        """Whether a section has begun that is not complete."""
        return self._buffer is not None

    def push(self, packet: bytes) -> list[bytes]:
        """Take one packet of the PID; return the sections that are complete now."""
        counter = packet[3] & 0x0F
        body = payload(packet)
        if not body or counter == self._counter:  # nothing in it, or a repeated packet
            return []
        if self._counter >= 0 and counter != (self._counter + 1) & 0x0F:
            self._buffer = None
        self._counter = counter
        if not packet[1] & 0x40:
            return self._extend(body)
        pointer = body[0]
        complete = self._extend(body[1 : 1 + pointer])
        self._buffer = bytearray()
        return complete + self._extend(body[1 + pointer :])

    def _extend(self, part: bytes) -> list[bytes]:
        if self._buffer is None:
            return []
        self._buffer += part
        complete: list[bytes] = []
        while len(self._buffer) >= 3 and self._buffer[0] != 0xFF:
            size = 3 + ((self._buffer[1] & 0x0F) << 8 | self._buffer[2])
            if size > SECTION_BYTES_MAX:
                self._buffer = None
                return complete
            if len(self._buffer) < size:
                return complete
            complete.append(bytes(self._buffer[:size]))
            del self._buffer[:size]
        if self._buffer and self._buffer[0] == 0xFF:  # stuffing to the end of the packet
            self._buffer = None
        return complete


def payload(packet: bytes) -> bytes:
    """Return what a packet carries behind header and adaptation field."""
    control = packet[3] & 0x30
    if control == 0x10:
        return packet[4:]
    if control == 0x30:
        return packet[5 + packet[4] :]
    return b""


def is_current(section: bytes, table_id: int) -> bool:
    """Whether this is a whole, undamaged section of that table which applies now."""
    shortest = 12 if table_id == TABLE_PAT else 16
    return len(section) >= shortest and section[0] == table_id and bool(section[5] & 0x01) and _crc32(section) == 0


def parse_pat(section: bytes) -> tuple[int, ...]:
    """Return the PMT PIDs that a PAT section names, in its order."""
    entries = section[8:-4]
    numbers = range(0, len(entries) - 3, 4)
    pids = [
        (entries[i + 2] & 0x1F) << 8 | entries[i + 3] for i in numbers if entries[i] or entries[i + 1]
    ]  # programme 0 is the network table
    return tuple(dict.fromkeys(pids))[:PROGRAMS_MAX]


def parse_pmt(section: bytes) -> Program:
    """Return the programme that a PMT section describes; what is cut short in it is left out."""
    pcr_pid = (section[8] & 0x1F) << 8 | section[9]
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    end = len(section) - 4
    streams = []
    while at + 5 <= end:
        size = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        descriptors = section[at + 5 : min(at + 5 + size, end)]
        streams.append(Stream(pid, _codec(section[at], descriptors)))
        at += 5 + size
    return Program(pcr_pid, tuple(streams), section)


def _codec(stream_type: int, descriptors: bytes) -> Codec:
    if stream_type != _PRIVATE_PES:
        return _STREAM_TYPES.get(stream_type, Codec.OTHER)
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        if tag in _AUDIO_DESCRIPTORS:
            return Codec.AUDIO
        if tag == _REGISTRATION:
            registered = _REGISTERED.get(descriptors[at + 2 : at + 6])
            if registered is not None:
                return registered
        at += 2 + size
    return Codec.OTHER


def packetize(pid: int, sections: tuple[bytes, ...], counter_last: int) -> bytes:
    """Write sections as whole packets of ``pid``; the last one carries ``counter_last``."""
    bodies = []
    for section in sections:
        pointed = b"\0" + section
        parts = [pointed[i : i + 184] for i in range(0, len(pointed), 184)]
        bodies += [(number == 0, part) for number, part in enumerate(parts)]
    first = counter_last - len(bodies) + 1
    return b"".join(
        bytes((SYNC, (0x40 if start else 0) | pid >> 8, pid & 0xFF, 0x10 | (first + number) & 0x0F))
        + part.ljust(184, b"\xff")
        for number, (start, part) in enumerate(bodies)
    )


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def _crc32(section: bytes) -> int:
    """CRC-32/MPEG-2 (13818-1, annex A); 0 over a section with its own CRC."""
    value = 0xFFFFFFFF
    for byte in section:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value


def sealed(section: bytes) -> bytes:
    """Return the section with its CRC appended."""
    return section + _crc32(section).to_bytes(4)
