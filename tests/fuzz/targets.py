"""What a stranger's bytes may do to the cores: each target plays them and asserts what must hold whatever they are.

Shared by Hypothesis and the kept corpus (``test_targets``) and by the coverage-guided fuzzer (``run``, ``make fuzz``).
"""

from collections.abc import Callable
from itertools import pairwise

from proxy.core import mpegts, psi
from proxy.core.aligner import Aligner
from proxy.core.feed import Feed, Medium
from proxy.core.playlist import KEPT_SEGMENTS_MAX, TARGETS_MIN
from proxy.core.psi import PACKET_BYTES
from proxy.core.ring import POINT_BYTES_MAX, POINTS_MAX
from proxy.errors import UpstreamContentError
from proxy.upstream.hls import playlist
from proxy.upstream.hls.cipher import Decrypter
from proxy.upstream.hls.cursor import Cursor, poll_seconds
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment

RING_BYTES = 64 * 1024
WAITING_BYTES_MAX = 1779
PIDS = (0, ts.PMT_PID, ts.VIDEO_PID, ts.AUDIO_PID, 0x1001, 0x10, 0x1FFF)


class Script:
    """The input as a sequence of decisions; at its end everything is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def pid(self) -> int:
        choice = self.byte()
        return PIDS[choice] if choice < len(PIDS) else (choice << 8 | self.byte()) & 0x1FFF


class Play:
    """A feed, and everything that a script may do to it."""

    def __init__(self) -> None:
        self.feed = Feed(
            ring_bytes_max=RING_BYTES, new_segment=MemorySegment, hls=True, segment_seconds=1.0, window_segments=3
        )
        self.now = 0.0
        self.targets: set[float] = set()
        """That playlists have shown."""

    def write(self, media: bytes, chunk_bytes: int = 0) -> None:
        size = chunk_bytes or len(media) or 1
        for at in range(0, len(media), size):
            taken = self.feed.write(media[at : at + size], self.now, 1000.0 + self.now)
            assert taken % PACKET_BYTES == 0

    def check(self) -> None:
        """Memory is bounded, and what viewers would be given is whole packets."""
        feed = self.feed
        indexer, ring = feed._indexer, feed.ring
        assert len(feed._aligner._rest) <= WAITING_BYTES_MAX
        assert len(indexer._assemblers) <= psi.PROGRAMS_MAX + 1
        assert len(indexer.tables.counters) <= psi.PROGRAMS_MAX + 1
        assert len(indexer.tables.programs) <= psi.PROGRAMS_MAX
        assert len(indexer.tables.pat) <= len(indexer._pat_parts) <= psi.PAT_SECTIONS_MAX
        assert all(len(one._buffer or b"") < psi.SECTION_BYTES_MAX + 184 for one in indexer._assemblers.values())
        assert len(indexer._units) <= 1
        assert all(len(unit.head) <= mpegts.UNIT_PACKETS_MAX * 184 for unit in indexer._units.values())
        assert ring.head - ring.tail <= RING_BYTES
        assert ring.head % PACKET_BYTES == ring.tail % PACKET_BYTES == 0
        assert len(ring.points) <= POINTS_MAX
        assert ring._point_bytes == sum(len(point.prefix) for point in ring.points) <= POINT_BYTES_MAX
        assert all(ring.tail <= a.position < b.position <= ring.head for a, b in pairwise(ring.points))
        assert feed.hls is not None
        assert len(feed.hls._kept) <= KEPT_SEGMENTS_MAX

    def read(self) -> None:
        """Read as viewers would."""
        feed = self.feed
        _assert_packets(feed.ring.read(feed.tail, RING_BYTES) or b"")
        point = feed.join()
        assert feed.joinable is (point is not None)
        if point is not None:
            _assert_packets(feed.lead(point))
        assert feed.hls is not None
        for segment in feed.hls.listed:
            media = feed.media(segment)
            assert media is not None
            assert len(media) == segment.size
            _assert_packets(media)
        text = feed.playlist("?v=x")
        if text is not None:
            listed = playlist.parse(text)
            assert isinstance(listed, playlist.MediaPlaylist)
            later = sum(one.seconds for one in listed.segments[1:])
            assert 1 <= len(listed.segments) <= 3 or later < TARGETS_MIN * listed.target_seconds
            self.keep(listed)

    def keep(self, shown: playlist.MediaPlaylist) -> None:
        """See that there is one target in all playlists, and no segment that is longer."""
        self.targets.add(shown.target_seconds)
        assert len(self.targets) == 1
        assert all(int(one.seconds + 0.5) <= shown.target_seconds for one in shown.segments)


def _assert_packets(media: bytes) -> None:
    assert len(media) % PACKET_BYTES == 0
    assert media[::PACKET_BYTES] == b"\x47" * (len(media) // PACKET_BYTES)


def _raw(script: Script, play: Play) -> None:
    play.write(script.take(script.byte() * 8), script.byte() * 4)


def _packet(script: Script, play: Play) -> None:
    head = bytes((0x47, script.byte(), script.byte(), script.byte()))
    play.write((head + script.take(script.byte())).ljust(PACKET_BYTES, b"\xff")[:PACKET_BYTES])


def _filler(script: Script, play: Play) -> None:
    """Many packets of one PID, so that an aligner locks and a ring turns over."""
    pid, count, body = script.pid(), script.byte(), script.take(4)
    play.write(b"".join(ts.packet(pid, counter, body=body * 46) for counter in range(count if body else 0)))


def _pat(script: Script, play: Play) -> None:
    programs = {script.byte() << 8 | number: script.pid() for number in range(script.byte() % 48)}
    flags, number = script.byte(), script.byte()
    section = ts.pat_section(programs, version=flags >> 1 & 0x1F, current=bool(flags & 1), number=number, last=number)
    play.write(psi.packetize(0, (section,), script.byte()))


def _pmt(script: Script, play: Play) -> None:
    pid, flags = script.pid(), script.byte()
    streams = [(script.byte(), script.pid(), script.take(script.byte() % 20)) for _ in range(script.byte() % 12)]
    section = ts.pmt_section(streams, version=flags >> 1 & 0x1F, current=bool(flags & 1), pcr_pid=script.pid())
    play.write(psi.packetize(pid, (section,), script.byte()))


def _unit(script: Script, play: Play) -> None:
    pid, flags = script.pid(), script.byte()
    pts = script.byte() << 25 | script.byte() << 13 if flags & 1 else None
    body = ts.pes(script.take(flags % 160), pts)
    field = b"\x40" if flags & 2 and len(body) < 183 else None
    play.write(ts.packet(pid, script.byte(), body=body[:180], start=True, field=field))


def _clock(script: Script, play: Play) -> None:
    play.write(ts.clock(script.byte() * 0.1 + script.byte() * 300, script.pid(), script.byte()))


def _wait(script: Script, play: Play) -> None:
    play.now += script.byte() / 16


def _discontinue(_script: Script, play: Play) -> None:
    play.feed.discontinue()


def _keepalive(script: Script, play: Play) -> None:
    play.feed.keepalive(play.now, script.byte() % 9)


def _read(_script: Script, play: Play) -> None:
    play.read()


MOVES: tuple[Callable[[Script, Play], None], ...] = (
    *(_raw, _packet, _filler, _pat, _pmt, _unit, _clock, _wait, _discontinue, _keepalive, _read),
)


def feed(data: bytes) -> None:
    """Play a script of tables, pictures, packets, junk, breaks and pauses."""
    script, play = Script(data), Play()
    while not script.over:
        MOVES[script.byte() % len(MOVES)](script, play)
        play.check()
    play.read()
    play.feed.close()
    assert play.feed.playlist(ended=True) is None
    assert play.feed.ring.head == play.feed.ring.tail


def fragments(data: bytes) -> None:
    """Play a script of fragments, halves of fragments, breaks and packets into one feed."""
    script, play = Script(data), Play()
    moves = (_begin, _more, _end, _discontinue, _wait, _keepalive, _read_fragments)
    while not script.over:
        try:
            moves[script.byte() % len(moves)](script, play)
        except UpstreamContentError:
            play.feed.discontinue()
        ring = play.feed.ring
        assert ring.head - ring.tail <= RING_BYTES
        assert play.feed.hls is not None
        if play.feed._fragments is not None:
            needed = {segment.initialisation for segment in play.feed.hls.kept}
            assert len(play.feed._fragments._initialisations) <= len(needed) + 1
    _read_fragments(script, play)


def _begin(script: Script, play: Play) -> None:
    initialisation, target_seconds = bytes((script.byte() % 4,)), script.byte() / 4
    play.feed.begin_fragment(initialisation, 1000.0 + play.now, target_seconds=target_seconds)


def _more(script: Script, play: Play) -> None:
    play.feed.write(script.take(2) * script.byte() * 16, play.now, 1000.0 + play.now)


def _end(script: Script, play: Play) -> None:
    play.feed.end_fragment(script.byte() / 8)


def _read_fragments(_script: Script, play: Play) -> None:
    feed = play.feed
    if feed.medium is not Medium.MP4:
        return
    assert feed.join() is None
    text = feed.playlist("?v=x")
    assert feed.joinable is (text is not None)
    listed = playlist.parse(text or "#EXTM3U")
    assert isinstance(listed, playlist.MediaPlaylist)
    if text is not None:
        play.keep(listed)
    for one in listed.segments:
        assert one.map is not None
        assert feed.initialisation(int(one.map.uri.split(".")[0])) is not None
        segment = feed.media_segment(one.number)
        assert segment is not None
        assert len(feed.media(segment) or b"") == segment.size > 0


def chunks(data: bytes) -> None:
    """The same bytes, however they are cut, come out as the same packets, and are counted alike."""
    size, data = (data[0] + 1, data[1:]) if data else (1, b"")
    whole, cut = Aligner(), Aligner()
    expected = whole.push(data)
    _assert_packets(expected)
    got = b"".join(cut.push(data[at : at + size]) for at in range(0, len(data), size))
    assert got == expected
    assert (cut.junk_bytes, cut.resyncs) == (whole.junk_bytes, whole.resyncs)
    assert len(cut._rest) == len(data) - len(got) - cut.junk_bytes <= WAITING_BYTES_MAX


def lists(data: bytes) -> None:
    """Any text is a playlist or is refused, and a reader of it neither repeats itself nor waits for ever."""
    cursor = Cursor()
    last = -1
    for text in data.decode("utf-8", errors="replace").split("\0"):
        try:
            read = playlist.parse("#EXTM3U\n" + text)
        except UpstreamContentError as error:
            assert len(error.detail) < 250  # noqa: PT017 - what is looked at is the text
            assert error.detail.isprintable()  # noqa: PT017
            continue
        if isinstance(read, playlist.MasterPlaylist):
            continue
        assert len(read.segments) <= text.count("\n") + 1
        due, lost = cursor.due(read)
        for segment in due:
            assert lost or last < 0 or segment.number == last + 1
            assert segment.part is None or segment.part.size > 0
            lost, last = False, segment.number
            cursor.passed(segment)
        assert 0 < poll_seconds(read, had_news=bool(due)) <= 60


def ciphers(data: bytes) -> None:
    """Any bytes are decrypted or refused."""
    script = Script(data)
    decrypter = Decrypter(script.take(16).ljust(16), None, script.byte())
    taken = given = 0
    while not script.over:
        chunk = script.take(script.byte())
        taken += len(chunk)
        given += len(decrypter.push(chunk))
    try:
        given += len(decrypter.finish())
    except UpstreamContentError:
        return
    assert given < taken
    assert taken % 16 == 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "feed": feed,
    "fragments": fragments,
    "chunks": chunks,
    "lists": lists,
    "ciphers": ciphers,
}

if __name__ == "__main__":
    print(*TARGETS)
