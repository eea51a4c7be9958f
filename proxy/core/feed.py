"""One run of media as a pipeline: bytes in, aligned, indexed, kept in the ring, cut for HLS.

Pure: no await, no clock; times are handed in (``now`` is loop time, ``wall`` Unix time). One writer, any number of
readers that hold positions of ``ring``. What comes first decides about the medium: packets of MPEG-TS, or segments of
fragmented MP4, which are listed as they came and cannot be joined within.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Final

from proxy.core import limit, splice, stills
from proxy.core.aligner import Aligner
from proxy.core.fragments import Fragments
from proxy.core.loops import Loops
from proxy.core.mpegts import NULL_PACKET, Indexer, RandomAccess
from proxy.core.onset import BLIND_SECONDS, Onset
from proxy.core.playlist import FIRST_SECONDS_MAX, Cutter, MediaSegment, Playlists
from proxy.core.psi import PACKET_BYTES
from proxy.core.ring import NewSegment, Ring
from proxy.core.splice import Break
from proxy.core.stills import Still
from proxy.core.unread import Arrival, Unread
from proxy.errors import UpstreamContentError

BLIND_STEP_SECONDS: Final = 1.0
RETENTION_SECONDS: Final = 20.0
"""Without HLS the ring keeps about this much, however large it may be."""
FIRST_KEPT_SECONDS: Final = FIRST_SECONDS_MAX * 1.2
"""With HLS, enough for a first segment that waits for a key picture."""
SPARE_SEGMENTS: Final = 3
"""Segments kept behind the playlist's window, for clients with an older playlist."""
OPEN_SHARE: Final = 4
"""An HLS segment that fills this part of the ring is ended before its next random access point."""
LEAD_READ_BYTES: Final = 8192 * PACKET_BYTES
"""Before and after the place where a moved viewer goes on, so much is looked at for what runs in the stream."""
KEEPALIVE_PACKETS: Final = 7


class Medium(StrEnum):
    """What a feed is made of."""

    TS = "MPEG-TS"
    MP4 = "fragmented MP4"


class Feed:
    """See the module. ``ring_bytes_max`` bounds the memory; ``discontinuities`` numbers this feed among a key's."""

    def __init__(
        self,
        *,
        ring_bytes_max: int,
        new_segment: NewSegment,
        hls: bool,
        segment_seconds: float = 4.0,
        window_segments: int = 6,
        blind_seconds: float = BLIND_SECONDS,
        discontinuities: int = 0,
    ) -> None:
        kept_seconds = max((window_segments + SPARE_SEGMENTS) * segment_seconds, FIRST_KEPT_SECONDS) if hls else 0.0
        self.ring = Ring(
            bytes_max=ring_bytes_max,
            seconds_max=max(RETENTION_SECONDS, kept_seconds),
            new_segment=new_segment,
        )
        self._hls: Cutter | None = (
            Cutter(
                segment_seconds=segment_seconds,
                window_segments=window_segments,
                discontinuities=discontinuities,
            )
            if hls
            else None
        )
        self._open_bytes_max = ring_bytes_max // OPEN_SHARE
        self._blind_seconds = blind_seconds
        self._aligner = Aligner()
        self._indexer = Indexer()
        self._unread = Unread()
        """What the index has not seen. Whatever is asked of it is answered when it has."""
        self._fragments: Fragments | None = None
        self._break: Break | None = None
        self._onset: Onset | None = None
        """Holds a new connection's bytes back until a picture can begin."""
        self._hopeful_since: float | None = None
        """Since when a random access point has been waited for, or the last one's time."""
        self._run_position = 0
        self.newest_at = 0.0
        """Loop time of the newest media that readers were given; null packets are none."""
        self.loops: Loops | None = None
        """Who looks for the same pictures again; None where they may come again."""
        self._readers = 0
        self._resyncs_of_the_gone = 0
        self._junk_bytes_of_the_gone = 0
        self._playlists = Playlists()
        self._lead = (-1, b"")
        """The newest one, and the position it leads to: many viewers may be moved there."""
        self.bell: Callable[[float], None] | None = None
        """Rung with the loop's time when the ring has grown."""
        self.bytes_in = 0
        self.closed = False

    def write(self, chunk: bytes, now: float, wall: float) -> int:
        """Take bytes as they came; return how many of them were whole packets, or all of a fragment.

        After a break they reach the readers from the first random access point on. Fragments: see Fragments.write.
        """
        self.bytes_in += len(chunk)
        if self._fragments is not None:
            return self._write_fragment(self._fragments, chunk, now)
        if self.closed:
            return 0
        if self._onset is not None:
            taken = self._onset.push(chunk, now, wall)
            self._begin(self._onset, now, wall)
            return taken
        packets = self._aligner.push(chunk)
        if packets:
            self._append(packets, now, wall)
        return len(packets)

    def begin_fragment(self, initialisation: bytes, wall: float, *, target_seconds: float = 0.0) -> None:
        """What is written next is a segment of fragmented MP4; raise UpstreamContentError when it cannot be served."""
        if self._fragments is None:
            if self._hls is None:
                raise UpstreamContentError("fragmented MP4 can be served as HLS only")
            if self.ring.head:
                raise UpstreamContentError("upstream sends fragmented MP4 after MPEG-TS; its viewers cannot follow")
            self._fragments = Fragments(self.ring, self._hls, bytes_max=self._open_bytes_max)
        self._fragments.begin(initialisation, wall, target_seconds=target_seconds)

    def end_fragment(self, seconds: float) -> None:
        """The segment is whole, and plays for so long."""
        if self._fragments is None or self._hls is None or self.closed:
            return
        self._fragments.end(seconds)
        self._expire()

    def watch_loops(self, upstream_index: int | None) -> None:
        """Look for pictures of this upstream that come again and again; None: they may."""
        if upstream_index is None:
            self.loops = None
        elif self.loops is None:
            self.loops = Loops(upstream_index)
        else:
            self.loops.follow(upstream_index)

    def discontinue(self) -> None:
        """What is written next comes from a new connection: no byte, counter or clock of it continues the old."""
        self._index()
        self._aligner.reset()
        if self._fragments is not None:
            self._fragments.abandon()
        if not self.ring.head:
            return
        if self._hls is not None:
            self._hls.interrupt(self.ring.head, self.newest_at, self._indexer.pcr)
        self._indexer = Indexer()
        self._run_position = self.ring.head
        self._hopeful_since = None
        if self.loops is not None:
            self.loops.interrupt()
        self._break = Break()
        self._onset = Onset(self._aligner, blind_seconds=self._blind_seconds)

    def follow(self, former: "Feed") -> None:
        """Number segments and breaks on from those of a feed of another medium, whose place this one is to take."""
        if self.hls is not None and former.hls is not None:
            self.hls.follow(former.hls)

    def take_over(self, onset: Onset, now: float, wall: float) -> None:
        """Go on with another connection, whose ``onset`` has begun: what is written next continues that."""
        self.discontinue()
        self._resyncs_of_the_gone += self._aligner.resyncs
        self._junk_bytes_of_the_gone += self._aligner.junk_bytes
        self._aligner = onset.aligner
        self.bytes_in += len(onset.begun or b"")
        if not self.closed:
            self._begin(onset, now, wall)

    def _begin(self, onset: Onset, now: float, wall: float) -> None:
        """Pass on what an onset has let through, if it has."""
        if onset.begun is None:
            return
        self._onset = None
        position = self.ring.head
        self._append(onset.begun, now, wall)
        self._index()
        if onset.is_blind:
            self._add(self._indexer.blind(position, now, wall))

    def _append(self, packets: bytes, now: float, wall: float) -> None:
        if self._break is not None:
            packets = self._break.announce(packets, now)
            self._break = None if self._break.is_over else self._break
        self._unread.add(packets, Arrival(self.ring.head, now, wall))
        self.ring.append(packets, now)
        if self._unread.is_full or self.ring.newest_point is None:
            self._index()
        self.newest_at = now
        if self.bell is not None:
            self.bell(now)

    def _index(self) -> None:
        """Look at what has come since the last time."""
        if not self._unread:
            return
        packets, arrivals = self._unread.take()
        _, now, wall = arrivals[-1]
        points = self._indexer.scan(packets, arrivals)
        if self.loops is not None:
            self.loops.see(self._indexer.pictures, [point.position for point in points], now)
        for point in points:
            self.ring.add_point(point)
        if self._hls is not None:
            end = self._indexer.reached(arrivals[0].position + len(packets))
            places = partial(self._indexer.places, packets, arrivals)
            limit.pass_by(self._hls, points, end, places, bytes_max=self._open_bytes_max)
        self._help_blindly(arrivals[0].position, now, wall)
        self._expire()

    def keepalive(self, now: float, packets: int = KEEPALIVE_PACKETS) -> int:
        """Append null packets, so that players see bytes while the upstream is away; not counted as media."""
        if self.closed or self.medium is not Medium.TS:
            return 0
        self._index()
        self.ring.append(NULL_PACKET * packets, now)
        self._expire()
        if self.bell is not None:
            self.bell(now)
        return packets * PACKET_BYTES

    def hold(self) -> None:
        """Keep the storage for one more reader, even after ``close``; every hold needs its ``release``."""
        self._readers += 1

    def release(self) -> None:
        self._readers -= 1
        self._free()

    def close(self) -> None:
        """Take nothing more, and give the storage back with the last reader. A second call does nothing."""
        self._index()
        self.closed = True
        self._free()

    def _free(self) -> None:
        if self.closed and not self._readers:
            self.ring.close()
            self._expire()

    @property
    def hls(self) -> Cutter | None:
        self._index()
        return self._hls

    @property
    def head(self) -> int:
        return self.ring.head

    @property
    def tail(self) -> int:
        return self.ring.tail

    @property
    def resyncs(self) -> int:
        return self._resyncs_of_the_gone + self._aligner.resyncs

    @property
    def junk_bytes(self) -> int:
        """Bytes that were no packets. Much of it and no packets at all: the upstream is not MPEG-TS."""
        return self._junk_bytes_of_the_gone + self._aligner.junk_bytes

    @property
    def medium(self) -> Medium | None:
        """What it is made of; None as long as nothing has come."""
        if self._fragments is not None:
            return Medium.MP4
        return Medium.TS if self.ring.head else None

    @property
    def joinable(self) -> bool:
        """Whether a viewer could be given a picture now: of fragments, a viewer of HLS."""
        if self._fragments is not None and self._hls is not None:
            return bool(self._hls.listed)
        return self.join() is not None

    @property
    def presentable(self) -> bool:
        """Whether viewers of either kind could be given something now, as far as there will be something for them."""
        return self.joinable and (self.hls is None or bool(self.hls.listed))

    @property
    def breaks(self) -> int:
        """Discontinuities told in playlists so far, those of the feeds before included."""
        return self.hls.discontinuities if self.hls is not None else 0

    def join(self) -> RandomAccess | None:
        """Return where a viewer that comes now begins."""
        self._index()
        return self.ring.newest_point

    def join_behind(self, *, at: float, position: int, bytes_max: int) -> RandomAccess | None:
        """Return where a viewer begins that wants to be behind live; see ``Ring.point_behind``."""
        self._index()
        return self.ring.point_behind(at=at, position=position, bytes_max=bytes_max)

    def key_picture(self) -> Still | None:
        """Return the newest whole key picture; None when there is none."""
        self._index()
        return stills.cut(self.ring)

    def lead(self, point: RandomAccess) -> bytes:
        """Return the packets to put between what a moved viewer has had and ``point``: the jump, told, and tables."""
        if self._lead[0] != point.position:
            following = self.ring.read(point.position, LEAD_READ_BYTES) or b""
            announced, known = splice.announce(point.prefix + following)
            begin = max(self.ring.tail, point.position - LEAD_READ_BYTES)
            preceding = self.ring.read(begin, point.position - begin) or b""
            self._lead = point.position, announced + splice.announce_silent(preceding, known) + point.prefix
        return self._lead[1]

    def playlist(self, query: str = "", *, ended: bool = False) -> str | None:
        """Return the HLS playlist as of now, or None while there is no segment to list.

        With ``ended`` no more will be written: the last segment is closed, and the playlist says that it is all.
        """
        hls = self.hls
        if hls is None:
            return None
        if ended:
            hls.interrupt(self.ring.head, self.newest_at, self._indexer.pcr)
        return self._playlists.of(hls, query, ended=ended)

    def initialisation(self, number: int) -> bytes | None:
        """Return what has to be read before the segments that name this number."""
        return None if (held := self._fragments or self.hls) is None else held.initialisation(number)

    def media_segment(self, sequence: int) -> MediaSegment | None:
        return self.hls.find(sequence) if self.hls is not None else None

    def media(self, segment: MediaSegment) -> bytes | None:
        """Return a segment's bytes, tables first; None when the ring has dropped them."""
        block = self.ring.read(segment.start, segment.end - segment.start)
        return None if block is None else segment.prefix + block

    def _write_fragment(self, fragments: Fragments, chunk: bytes, now: float) -> int:
        if self.closed:
            return 0
        taken = fragments.write(chunk, now)
        self.newest_at = now
        self._expire()
        fragments.forget()
        return taken

    def _add(self, point: RandomAccess) -> None:
        self.ring.add_point(point)
        if self._hls is not None:
            self._hls.reach(point)

    def _help_blindly(self, position: int, now: float, wall: float) -> None:
        """Let viewers join anywhere when this run of packets has shown no better place for too long."""
        if self._indexer.reference is None:
            return
        newest = self.ring.newest_point
        if newest is not None and newest.position < self._run_position:
            newest = None
        if newest is not None and not newest.blind:
            self._hopeful_since = newest.at
            return
        if self._hopeful_since is None:
            self._hopeful_since = now
        patience = self._blind_seconds if newest is None else BLIND_STEP_SECONDS + newest.at - self._hopeful_since
        if now - self._hopeful_since >= patience:
            self._add(self._indexer.blind(position, now, wall))

    def _expire(self) -> None:
        if self._hls is not None:
            self.ring.keep((self._hls.window_segments + SPARE_SEGMENTS) * self._hls.target_seconds)
            self._hls.expire(self.ring.tail)
