"""MPEG-TS: find among packets where a viewer may join, and tell of jumps (ISO/IEC 13818-1, 2.4.3).

Pure, and fast where every byte passes: packets are looked at column by column (``packets[1::188]``, translate, find),
so Python touches only tables and the first packets of pictures, never each packet. What is found does not depend on
how the bytes were cut into chunks.
"""

from dataclasses import dataclass
from typing import Final

from proxy.core import pictures, psi
from proxy.core.psi import PACKET_BYTES, PID_NULL, PID_PAT, SYNC, Codec, Sections, Tables

UNIT_PACKETS_MAX: Final = 8
"""So many packets of a picture are read before it is judged by what has been seen."""
PICTURE_HEAD_BYTES: Final = 96
"""So much of every picture is shown to those who compare: less than fits into the packet that it begins in."""
SPLICE_PIDS_MAX: Final = 64
_PID_MASK: Final = bytes(value & 0x1F for value in range(256))
_START_MASK: Final = bytes(value & 0x5F for value in range(256))  # PID and payload_unit_start_indicator
_HAS_FIELD: Final = bytes(value >> 5 & 1 for value in range(256))
_HAS_PCR: Final = bytes(value >> 4 & 1 for value in range(256))
_NOT_EMPTY: Final = bytes(min(value, 1) for value in range(256))
NULL_PACKET: Final = bytes((SYNC, 0x1F, 0xFF, 0x10)) + b"\xff" * 184


@dataclass(frozen=True, slots=True)
class RandomAccess:
    """A place where a viewer may join: ``prefix`` (PAT and PMT packets) first, then the ring from ``position``."""

    position: int
    prefix: bytes
    pts: int | None
    """Of its picture, 90 kHz, 33 bits."""
    pcr: int | None
    """Newest clock of the programme around it, 27 MHz."""
    at: float
    """Loop time when it arrived."""
    wall: float
    """Unix time when it arrived."""
    blind: bool = False
    """Not a picture's start: the stream showed none for too long."""


@dataclass(slots=True)
class _Unit:
    """A picture of which too little has been seen to know whether it is a key picture."""

    position: int
    tables: Tables
    codec: Codec
    pts: int | None
    at: float
    wall: float
    skip: int
    """Bytes of its PES header that are still to come."""
    packets: int = 0
    head: bytes = b""

    def push(self, body: bytes) -> bool | None:
        """Take the payload of its next packet; say whether it is a key picture, or None."""
        self.packets += 1
        self.head += body[self.skip :]
        self.skip = max(0, self.skip - len(body))
        return pictures.is_key(self.codec, self.head, complete=self.packets >= UNIT_PACKETS_MAX)


class _Columns:
    """The PIDs of many packets as two byte strings that can be searched at the speed of ``bytes.find``."""

    __slots__ = ("_packets", "_pids", "_starts", "count")

    def __init__(self, packets: bytes) -> None:
        self._packets = packets
        self.count = len(packets) // PACKET_BYTES
        high, low = packets[1::PACKET_BYTES], packets[2::PACKET_BYTES]
        self._pids = bytearray(2 * self.count)
        self._pids[0::2], self._pids[1::2] = high.translate(_PID_MASK), low
        self._starts = bytearray(2 * self.count)
        self._starts[0::2], self._starts[1::2] = high.translate(_START_MASK), low

    def packet(self, index: int) -> bytes:
        return self._packets[index * PACKET_BYTES : (index + 1) * PACKET_BYTES]

    def of(self, pid: int, index: int) -> list[int]:
        """Indices of the packets of ``pid`` at or after ``index``."""
        return _find_pairs(self._pids, pid.to_bytes(2), index)

    def starts_of(self, pid: int, index: int) -> list[int]:
        """Indices of its packets that begin a unit."""
        return _find_pairs(self._starts, (pid | 0x4000).to_bytes(2), index)

    def first(self, pid: int, index: int) -> int:
        """Index of the first packet of ``pid`` at or after ``index``, or -1."""
        pair = pid.to_bytes(2)
        at = self._pids.find(pair, 2 * index)
        while at & 1 and at > 0:
            at = self._pids.find(pair, at + 1)
        return at // 2 if at >= 0 else -1

    def pids(self) -> set[int]:
        return {high << 8 | low for high, low in set(zip(self._pids[0::2], self._pids[1::2], strict=True))}

    def is_start(self, index: int) -> bool:
        return bool(self._starts[2 * index] & 0x40)


def _find_pairs(column: bytearray, pair: bytes, index: int) -> list[int]:
    found = []
    at = column.find(pair, 2 * index)
    while at >= 0:
        if at & 1:
            at = column.find(pair, at + 1)
            continue
        found.append(at // 2)
        at = column.find(pair, at + 2)
    return found


@dataclass(frozen=True, slots=True)
class _Scan:
    """One call of ``Indexer.scan``: its packets, where they lie, when they came, what has been found in them."""

    columns: _Columns
    position: int
    now: float
    wall: float
    found: list[RandomAccess]


class Indexer:
    """Follows the tables and finds the random access points of one unbroken run of packets."""

    __slots__ = ("_assemblers", "_pat_parts", "_units", "pcr", "pictures", "tables")

    def __init__(self) -> None:
        self.tables = Tables()
        self.pictures: list[tuple[int, bytes]] = []
        """Where the pictures that the last scan saw begin, and their first bytes, without time stamps."""
        self.pcr: int | None = None
        self._assemblers: dict[int, Sections] = {PID_PAT: Sections()}
        self._pat_parts: dict[int, bytes] = {}
        self._units: dict[int, _Unit] = {}

    def scan(self, packets: bytes, position: int, now: float, wall: float) -> list[RandomAccess]:
        """Read whole packets that lie at ``position``; return the points found, in order."""
        scan = _Scan(_Columns(packets), position, now, wall, [])
        self.pictures = []
        self._read_clock(packets)
        for pid in tuple(self._units):
            self._follow(scan, pid, 0)
        index = 0
        while index < scan.columns.count:
            index = self._scan_unchanged(scan, index)
        return scan.found

    def blind(self, position: int, now: float, wall: float) -> RandomAccess:
        """Return a point at a place that is not known to be one: better a late picture than none."""
        return RandomAccess(position, self.tables.packets(), None, self.pcr, now, wall, blind=True)

    def _scan_unchanged(self, scan: _Scan, index: int) -> int:
        """Visit tables and pictures from ``index`` until the tables change; return where to go on."""
        reference = self.tables.reference
        visits = [(hit, pid) for pid in self._assemblers for hit in scan.columns.of(pid, index)]
        if reference is not None and reference.pid not in self._assemblers:
            visits += [(hit, reference.pid) for hit in scan.columns.starts_of(reference.pid, index)]
        for hit, pid in sorted(visits):
            if pid in self._assemblers:
                if self._read_table(pid, scan.columns.packet(hit)):
                    return hit + 1
            elif reference is not None:
                self._read_start(scan, hit, reference)
        return scan.columns.count

    def _read_table(self, pid: int, packet: bytes) -> bool:
        """Take one packet of PAT or a PMT; return whether the tables changed."""
        self.tables = self.tables.counted(pid, packet[3] & 0x0F)
        sections = self._assemblers[pid].push(packet)
        changes = [self._take_pat(s) if pid == PID_PAT else self._take_pmt(pid, s) for s in sections]
        return any(changes)

    def _take_pat(self, section: bytes) -> bool:
        if section in self.tables.pat or not psi.is_current(section, psi.TABLE_PAT):
            return False
        if section[6] >= psi.PAT_SECTIONS_MAX:
            return False
        version = section[5] & 0x3E
        self._pat_parts = {n: s for n, s in self._pat_parts.items() if s[5] & 0x3E == version}
        self._pat_parts[section[6]] = section
        parts = tuple(self._pat_parts[number] for number in sorted(self._pat_parts))
        named = dict.fromkeys(pid for part in parts for pid in psi.parse_pat(part) if pid != PID_PAT)
        pids = tuple(named)[: psi.PROGRAMS_MAX]
        self.tables = self.tables.with_pat(parts, pids)
        kept = {pid: self._assemblers.get(pid) or Sections() for pid in pids}
        self._assemblers = {PID_PAT: self._assemblers[PID_PAT], **kept}
        return True

    def _take_pmt(self, pid: int, section: bytes) -> bool:
        known = self.tables.programs.get(pid)
        if (known is not None and known.section == section) or not psi.is_current(section, psi.TABLE_PMT):
            return False
        self.tables = self.tables.with_program(pid, psi.parse_pmt(section))
        return True

    def _read_start(self, scan: _Scan, hit: int, reference: psi.Stream) -> None:
        """A unit of the reference stream begins: judge it, now or when more of it has come."""
        packet = scan.columns.packet(hit)
        marked = packet[3] & 0x20 and packet[4] > 0 and packet[5] & 0x40
        body = b"" if packet[3] & 0xC0 else psi.payload(packet)  # scrambled: only the mark can be read
        readable = len(body) >= 9 and body[:3] == b"\0\0\1"
        if not marked and not readable:
            return
        skip = 9 + body[8] if readable else 0
        at = scan.position + hit * PACKET_BYTES
        self.pictures.append((at, body[skip : skip + PICTURE_HEAD_BYTES]))
        unit = _Unit(
            position=at,
            tables=self.tables,
            codec=Codec.OTHER if marked else reference.codec,  # a mark settles it, whatever the codec
            pts=_pts(body) if readable else None,
            at=scan.now,
            wall=scan.wall,
            skip=skip,
        )
        self._units = {reference.pid: unit}  # of a former reference nothing is waited for any more
        self._follow(scan, reference.pid, hit)

    def _follow(self, scan: _Scan, pid: int, index: int) -> None:
        """Show a unit its packets from ``index`` on until it is judged, replaced, or the packets end."""
        unit = self._units[pid]
        while (index := scan.columns.first(pid, index)) >= 0:
            if unit.packets and scan.columns.is_start(index):  # the next one begins: no more will come of this
                self._judge(scan, pid, verdict=pictures.is_key(unit.codec, unit.head, complete=True))
                return
            verdict = unit.push(psi.payload(scan.columns.packet(index)))
            if verdict is not None:
                self._judge(scan, pid, verdict=verdict)
                return
            index += 1

    def _judge(self, scan: _Scan, pid: int, *, verdict: bool | None) -> None:
        unit = self._units.pop(pid)
        if verdict:
            prefix = unit.tables.packets()
            scan.found.append(RandomAccess(unit.position, prefix, unit.pts, self.pcr, unit.at, unit.wall))

    def _read_clock(self, packets: bytes) -> None:
        pid = self.tables.pcr_pid
        clock = last_pcr(packets, pid) if pid is not None else None
        self.pcr = self.pcr if clock is None else clock


def last_pcr(packets: bytes, pid: int) -> int | None:
    """Return the newest programme clock of ``pid`` in these packets, in 27 MHz ticks."""
    flags = (
        packets[3::PACKET_BYTES].translate(_HAS_FIELD),
        packets[4::PACKET_BYTES].translate(_NOT_EMPTY),
        packets[5::PACKET_BYTES].translate(_HAS_PCR),
    )
    both = int.from_bytes(flags[0]) & int.from_bytes(flags[1]) & int.from_bytes(flags[2])
    column = both.to_bytes(len(flags[0]))
    index = column.rfind(1)
    while index >= 0:
        at = index * PACKET_BYTES
        if (packets[at + 1] & 0x1F) << 8 | packets[at + 2] == pid:
            base = int.from_bytes(packets[at + 6 : at + 10]) << 1 | packets[at + 10] >> 7
            return base * 300 + ((packets[at + 10] & 1) << 8 | packets[at + 11])
        index = column.rfind(1, 0, index)
    return None


def splice(packets: bytes, known: frozenset[int] = frozenset()) -> tuple[bytes, frozenset[int]]:
    """Return packets that announce a jump on every PID in ``packets`` but the ``known`` ones, and all PIDs so far.

    Each carries the discontinuity indicator and no payload (2.4.3.5), with the counter that the PID's first packet
    continues, so that a decoder takes the jump for what it is. They go in front of ``packets``.
    """
    columns = _Columns(packets)
    announced = []
    pids = {pid for pid in columns.pids() if pid != PID_NULL} - known
    for pid in sorted(pids)[:SPLICE_PIDS_MAX]:
        control = columns.packet(columns.first(pid, 0))[3]
        counter = control - (1 if control & 0x10 else 0) & 0x0F
        announced.append(bytes((SYNC, pid >> 8, pid & 0xFF, 0x20 | counter, 183, 0x80)) + b"\xff" * 182)
    return b"".join(announced), known | pids


def _pts(body: bytes) -> int | None:
    """PTS of a PES header (2.4.3.6), or None when it has none."""
    if not body[7] & 0x80 or len(body) < 14:
        return None
    return (body[9] >> 1 & 0x07) << 30 | body[10] << 22 | (body[11] >> 1) << 15 | body[12] << 7 | body[13] >> 1
