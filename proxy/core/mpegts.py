"""MPEG-TS: find among packets where a viewer may join (ISO/IEC 13818-1, 2.4.3).

Pure, and fast where every byte passes: packets are looked at column by column (``packets[1::188]``, translate, find),
so Python touches only tables and the first packets of pictures, never each packet. What is found does not depend on
how the bytes were cut into chunks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.core import pictures, psi
from proxy.core.columns import Columns
from proxy.core.psi import PACKET_BYTES, PID_PAT, SYNC, Codec, Sections, Tables
from proxy.core.unread import Arrival, arrival_of

UNIT_PACKETS_MAX: Final = 8
"""So many packets of a picture are read before it is judged by what has been seen."""
PICTURE_HEAD_BYTES: Final = 96
"""So much of every picture is shown to those who compare: less than fits into the packet that it begins in."""
PICTURE_SECONDS: Final = 1.0
"""So long the newest picture tells how far the media has come; then the clock does, as without any pictures."""
PCR_HZ: Final = 27_000_000
_HAS_FIELD: Final = bytes(value >> 5 & 1 for value in range(256))
_HAS_PCR: Final = bytes(value >> 4 & 1 for value in range(256))
NULL_PACKET: Final = bytes((SYNC, 0x1F, 0xFF, 0x10)) + b"\xff" * 184


@dataclass(frozen=True, slots=True)
class RandomAccess:
    """A place where a viewer may join: ``prefix`` (PAT and PMT packets) first, then the ring from ``position``."""

    position: int
    prefix: bytes
    pts: int | None
    """Of its picture, 90 kHz, 33 bits."""
    pcr: int | None
    """Newest clock of the programme up to its first packet, 27 MHz."""
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
    arrival: Arrival
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


@dataclass(frozen=True, slots=True)
class _Scan:
    """One call of ``Indexer.scan``: its packets, when they came, what has been found in them."""

    packets: bytes
    columns: Columns
    arrivals: Sequence[Arrival]
    found: list[RandomAccess]
    opened: set[int]
    """PIDs on which a section went on, or goes on, over more than one packet: all of their packets are looked at."""

    @property
    def position(self) -> int:
        return self.arrivals[0].position


class _Place(NamedTuple):
    """Where something could be cut that nobody can join: at a picture, at a clock, or at the end of what has come."""

    position: int
    pts: int | None
    pcr: int | None
    arrival: Arrival


class Indexer:
    """Follows the tables and finds the random access points of one unbroken run of packets."""

    __slots__ = (
        *("_assemblers", "_before", "_newest", "_pat_parts", "_pcr_pid", "_stamps", "_units"),
        *("pcr", "pictures", "reference", "tables"),
    )

    def __init__(self) -> None:
        self.tables = Tables()
        self.reference: psi.Stream | None = None
        """The stream whose units are looked at, by the tables of now."""
        self.pictures: list[tuple[int, bytes]] = []
        """Where the pictures that the last scan saw begin, and their first bytes, without time stamps."""
        self.pcr: int | None = None
        self._stamps: list[tuple[int, int]] = []
        """Where pictures of the last scan begin, and their time stamps."""
        self._newest: _Place | None = None
        self._before: _Place | None = None
        """The newest place of the last scan, and of the one before."""
        self._pcr_pid: int | None = None
        self._assemblers: dict[int, Sections] = {PID_PAT: Sections()}
        self._pat_parts: dict[int, bytes] = {}
        self._units: dict[int, _Unit] = {}

    def scan(self, packets: bytes, arrivals: Sequence[Arrival]) -> list[RandomAccess]:
        """Read whole packets, the first of which lies where the first of their arrivals does; return the points found.

        In order; one may belong to a picture that began in the packets of an earlier call.
        """
        opened = {pid for pid, sections in self._assemblers.items() if sections.is_open}
        scan = _Scan(packets, Columns(packets), arrivals, [], opened)
        self.pictures, self._stamps = [], []
        for pid in tuple(self._units):
            self._follow(scan, pid, scan.columns.first(pid, 0))
        index = 0
        while index < scan.columns.count:
            index = self._scan_unchanged(scan, index)
        self.pcr = self._clock(packets)
        self._before = self._newest
        if self._stamps:
            self._newest = _Place(*self._stamps[-1], self.pcr, arrivals[-1])
        elif not self._is_fresh(self._newest, arrivals[-1]):
            self._newest = _Place(scan.position + len(packets), None, self.pcr, arrivals[-1])
        return scan.found

    def blind(self, position: int, now: float, wall: float) -> RandomAccess:
        """Return a point at a place that is not known to be one: better a late picture than none."""
        return RandomAccess(position, self.tables.packets(), None, self.pcr, now, wall, blind=True)

    def _is_fresh(self, place: _Place | None, arrival: Arrival) -> bool:
        """Whether this is a picture, and the next one may well be on its way."""
        if place is None or place.pts is None:
            return False
        if self.pcr is None or place.pcr is None:
            return arrival.now - place.arrival.now <= PICTURE_SECONDS
        return 0 <= self.pcr - place.pcr <= PICTURE_SECONDS * PCR_HZ

    def reached(self, position: int) -> RandomAccess:
        """Return how far the media has come with the last scan, which ended at ``position``; nobody can join there."""
        assert self._newest is not None
        _, pts, _, (_, now, wall) = self._newest
        return RandomAccess(position, b"", pts, self.pcr, now, wall, blind=True)

    def places(self, packets: bytes, arrivals: Sequence[Arrival]) -> list[RandomAccess]:
        """Return where a media segment could be cut blindly in the last scan, whose packets these were; in order.

        That is where its pictures begin; if none has a time stamp, where its clocks are; without any, where each
        chunk begins. The newest such place of the scan before comes first.
        """
        clocks = [] if self._pcr_pid is None else list(_clocks(packets, self._pcr_pid))
        found: list[tuple[int, int | None]] = [*self._stamps]
        if not found:
            found = [(arrivals[0].position + index * PACKET_BYTES, None) for index, _ in clocks]
        if not found:
            found = [(arrival.position, None) for arrival in arrivals]
        prefix = self.tables.packets()
        places = [self._before] if self._before is not None else []
        for position, pts in found:
            index = bisect_right(clocks, (position - arrivals[0].position) // PACKET_BYTES, key=_index)
            pcr = clocks[index - 1][1] if index else places[0].pcr if places else None
            places.append(_Place(position, pts, pcr, arrival_of(position, arrivals)))
        return [RandomAccess(at, prefix, pts, pcr, came.now, came.wall, blind=True) for at, pts, pcr, came in places]

    def _scan_unchanged(self, scan: _Scan, index: int) -> int:
        """Visit tables and pictures from ``index`` until the tables change; return where to go on."""
        columns, reference = scan.columns, self.reference
        picture_pid = reference.pid if reference is not None else None
        hits = columns.starts(index)
        if scan.opened:
            hits = sorted({*hits, *(hit for pid in scan.opened for hit in columns.of(pid, index))})
        for hit in hits:
            pid = columns.pid(hit)
            sections = self._assemblers.get(pid)
            if sections is not None:
                changed = self._read_table(pid, columns.packet(hit))
                opened = sections.is_open and pid not in scan.opened
                if opened:
                    scan.opened.add(pid)
                if changed or opened:
                    return hit + 1
            elif reference is not None and pid == picture_pid:
                self._read_start(scan, hit, reference)
        return columns.count

    def _read_table(self, pid: int, packet: bytes) -> bool:
        """Take one packet of PAT or a PMT; return whether the tables changed."""
        self.tables = self.tables.counted(pid, packet[3] & 0x0F)
        sections = self._assemblers[pid].push(packet)
        changes = [self._take_pat(s) if pid == PID_PAT else self._take_pmt(pid, s) for s in sections]
        if not any(changes):
            return False
        self.reference, self._pcr_pid = self.tables.reference, self.tables.pcr_pid
        return True

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
        pts = _pts(body) if readable else None
        self.pictures.append((at, body[skip : skip + PICTURE_HEAD_BYTES]))
        if pts is not None:
            self._stamps.append((at, pts))
        unit = _Unit(
            position=at,
            tables=self.tables,
            codec=Codec.OTHER if marked else reference.codec,  # a mark settles it, whatever the codec
            pts=pts,
            arrival=arrival_of(at, scan.arrivals),
            skip=skip,
        )
        self._units = {reference.pid: unit}  # of a former reference nothing is waited for any more
        self._follow(scan, reference.pid, hit)

    def _follow(self, scan: _Scan, pid: int, index: int) -> None:
        """Show a unit its packets, of which ``index`` is one, until it is judged, replaced, or the packets end."""
        unit = self._units[pid]
        while index >= 0:
            if unit.packets and scan.columns.is_start(index):  # the next one begins: no more will come of this
                self._judge(scan, pid, verdict=pictures.is_key(unit.codec, unit.head, complete=True))
                return
            verdict = unit.push(psi.payload(scan.columns.packet(index)))
            if verdict is not None:
                self._judge(scan, pid, verdict=verdict)
                return
            index = scan.columns.first(pid, index + 1)

    def _judge(self, scan: _Scan, pid: int, *, verdict: bool | None) -> None:
        unit = self._units.pop(pid)
        if verdict:
            prefix = unit.tables.packets()
            pcr = self._clock(scan.packets[: max(0, unit.position + PACKET_BYTES - scan.position)])
            _, now, wall = unit.arrival
            scan.found.append(RandomAccess(unit.position, prefix, unit.pts, pcr, now, wall))

    def _clock(self, packets: bytes) -> int | None:
        """Return the newest clock of the programme up to the end of these packets, which follow those before."""
        clock = last_pcr(packets, self._pcr_pid) if self._pcr_pid is not None else None
        return self.pcr if clock is None else clock


def last_pcr(packets: bytes, pid: int) -> int | None:
    """Return the newest programme clock of ``pid`` in these packets, in 27 MHz ticks."""
    column = _clocked(packets)
    index = column.rfind(1)
    while index >= 0:
        pcr = _pcr(packets, index * PACKET_BYTES, pid)
        if pcr is not None:
            return pcr
        index = column.rfind(1, 0, index)
    return None


def _clocks(packets: bytes, pid: int) -> Iterator[tuple[int, int]]:
    """Yield all of them, each with the index of its packet."""
    column = _clocked(packets)
    index = column.find(1)
    while index >= 0:
        pcr = _pcr(packets, index * PACKET_BYTES, pid)
        if pcr is not None:
            yield index, pcr
        index = column.find(1, index + 1)


def _clocked(packets: bytes) -> bytes:
    """Return a column that has 1 for packets that may carry a programme clock."""
    has_field, has_pcr = packets[3::PACKET_BYTES].translate(_HAS_FIELD), packets[5::PACKET_BYTES].translate(_HAS_PCR)
    return (int.from_bytes(has_field) & int.from_bytes(has_pcr)).to_bytes(len(has_field))


def _pcr(packets: bytes, at: int, pid: int) -> int | None:
    if not packets[at + 4] or (packets[at + 1] & 0x1F) << 8 | packets[at + 2] != pid:
        return None
    base = int.from_bytes(packets[at + 6 : at + 10]) << 1 | packets[at + 10] >> 7
    return base * 300 + ((packets[at + 10] & 1) << 8 | packets[at + 11])


def _index(clock: tuple[int, int]) -> int:
    return clock[0]


def _pts(body: bytes) -> int | None:
    """PTS of a PES header (2.4.3.6), or None when it has none."""
    if not body[7] & 0x80 or len(body) < 14:
        return None
    return (body[9] >> 1 & 0x07) << 30 | body[10] << 22 | (body[11] >> 1) << 15 | body[12] << 7 | body[13] >> 1
