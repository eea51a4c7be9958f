import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import mpegts, psi
from proxy.core.mpegts import Indexer, RandomAccess
from proxy.core.unread import Arrival
from tests.fakes import transport_packets as ts
from tests.fakes.viewing import clip

CUTS = st.lists(st.integers(1, 700), min_size=1, max_size=10)


def chunks(stream: bytes, sizes: list[int]) -> list[bytes]:
    cut, at = [], 0
    while at < len(stream):
        cut.append(stream[at : at + sizes[len(cut) % len(sizes)]])
        at += len(cut[-1])
    return cut


def index(stream: bytes, sizes: list[int] | None = None) -> tuple[list[RandomAccess], Indexer]:
    indexer = Indexer()
    found, at = [], 0
    for chunk in chunks(stream, [size * 188 for size in sizes or [len(stream) // 188]]):
        found += indexer.scan(chunk, [Arrival(at, 1.0, 2.0)])
        at += len(chunk)
    return found, indexer


def test_a_point_is_the_picture_with_the_tables_before_it() -> None:
    stream = ts.tables(7) + ts.picture(ts.KEY_H264, pts=90_000)
    (point,), _ = index(stream)
    assert point == RandomAccess(376, ts.tables(7), 90_000, None, 1.0, 2.0)


@pytest.mark.parametrize("pts", [0, 1, 90_000, (1 << 33) - 1, 0x155555555])
def test_a_time_stamp_is_read_as_it_was_written(pts: int) -> None:
    (point,), _ = index(ts.tables() + ts.picture(ts.KEY_H264, pts=pts))
    assert point.pts == pts


def test_pictures_before_the_tables_are_no_points() -> None:
    found, _ = index(ts.picture(ts.KEY_H264) + ts.tables() + ts.picture(ts.OTHER_H264))
    assert found == []


def test_a_mark_is_believed() -> None:
    found, _ = index(ts.tables() + ts.picture(ts.OTHER_H264, marked=True))
    assert [point.position for point in found] == [376]


def test_a_scrambled_picture_is_known_by_its_mark_only() -> None:
    marked, plain = bytearray(ts.picture(ts.KEY_H264, marked=True)), bytearray(ts.picture(ts.KEY_H264))
    marked[3] |= 0x80
    plain[3] |= 0x80
    found, _ = index(ts.tables() + plain + marked)
    assert [(point.position, point.pts) for point in found] == [(564, None)]


def test_a_start_that_is_no_pes_is_passed_over() -> None:
    found, _ = index(ts.tables() + ts.packet(ts.VIDEO_PID, 0, body=b"x" * 100, start=True))
    assert found == []


def test_a_cut_time_stamp_is_none() -> None:
    body = ts.pes(b"", pts=5)[:11]
    (point,), _ = index(ts.tables() + ts.packet(ts.VIDEO_PID, 0, body=body, start=True, field=b"\x40"))
    assert point.pts is None


def test_a_picture_may_need_its_next_packets() -> None:
    head = ts.pes(b"")  # the header alone, then the picture
    long_header = bytearray(ts.pes(b""))
    long_header[8] = 200  # a header longer than its packet
    first = ts.packet(ts.VIDEO_PID, 0, body=head, start=True)
    second = ts.packet(ts.VIDEO_PID, 1, body=ts.KEY_H264)
    stuffed = ts.packet(ts.VIDEO_PID, 2, body=bytes(long_header) + b"\xff" * 175, start=True)
    third = ts.packet(ts.VIDEO_PID, 3, body=b"\xff" * 25 + ts.KEY_H264)
    other = ts.packet(ts.AUDIO_PID, 0, body=b"x")
    stream = ts.tables() + first + other + second + stuffed + other + third
    whole, _ = index(stream)
    assert [point.position for point in whole] == [376, 940]
    single, _ = index(stream, [1])
    assert single == whole


def test_a_picture_is_judged_by_what_came_when_the_next_begins() -> None:
    empty = ts.packet(ts.VIDEO_PID, 0, body=ts.pes(b"\0\0\0\1\x09\xf0"), start=True)
    parameters = ts.packet(ts.VIDEO_PID, 1, body=ts.pes(b"\0\0\0\1\x09\xf0\0\0\0\1\x67\x42"), start=True)
    found, _ = index(ts.tables() + empty + parameters + empty)
    assert [point.position for point in found] == [564]


def test_a_picture_is_not_read_for_ever() -> None:
    start = ts.packet(ts.VIDEO_PID, 0, body=ts.pes(b"\0\0\0\1\x09\xf0"), start=True)
    more = b"".join(ts.packet(ts.VIDEO_PID, n, body=b"\xff" * 184) for n in range(1, 20))
    late = ts.packet(ts.VIDEO_PID, 4, body=ts.KEY_H264)
    found, _ = index(ts.tables() + start + more + late)
    assert found == []


def test_without_video_any_start_of_sound_is_a_point() -> None:
    sound = ts.packet(ts.AUDIO_PID, 0, body=ts.pes(b"x" * 50, 5, 0xC0), start=True)
    pmt = ts.pmt_section([(ts.AAC, ts.AUDIO_PID, b"")])
    stream = psi.packetize(0, (ts.pat_section({1: ts.PMT_PID}),), 0) + psi.packetize(ts.PMT_PID, (pmt,), 0)
    found, _ = index(stream + sound + sound)
    assert [point.position for point in found] == [376, 564]


def test_a_new_version_of_the_pmt_moves_the_reference() -> None:
    moved = ts.pmt_section([(ts.HEVC, 0x200, b"")], version=1)
    stream = ts.tables(0) + ts.picture(ts.KEY_H264) + psi.packetize(ts.PMT_PID, (moved,), 1)
    stream += ts.picture(ts.KEY_H264, 1) + ts.picture(b"\0\0\1\x26\x01\xaf", pid=0x200)
    found, indexer = index(stream)
    assert [point.position for point in found] == [376, 376 + 3 * 188]
    assert moved in found[1].prefix
    assert indexer.tables.programs[ts.PMT_PID].section == moved


def test_a_new_version_of_the_pat_moves_the_pmt() -> None:
    pat = psi.packetize(0, (ts.pat_section({1: 0x300}, version=1),), 1)
    pmt = ts.pmt_section([(ts.H264, 0x200, b"")])
    stream = ts.tables(0) + pat + ts.picture(ts.KEY_H264) + psi.packetize(0x300, (pmt,), 0)
    found, _ = index(stream + ts.picture(ts.KEY_H264, pid=0x200))
    assert [point.position for point in found] == [5 * 188]
    assert found[0].prefix == pat + psi.packetize(0x300, (pmt,), 0)


def test_tables_that_apply_later_or_are_damaged_change_nothing() -> None:
    later = ts.pmt_section([(ts.HEVC, 0x200, b"")], version=1, current=False)
    damaged = ts.pat_section({9: 0x99}, version=3)[:-1] + b"x"
    stream = ts.tables() + psi.packetize(ts.PMT_PID, (later,), 1) + psi.packetize(0, (damaged,), 1)
    found, _ = index(stream + ts.picture(ts.KEY_H264))
    (point,) = found
    assert later not in point.prefix
    assert [point.prefix[at + 3] & 0x0F for at in (0, 188)] == [1, 1]  # the counters still follow the stream


def test_a_pat_may_have_several_sections() -> None:
    parts = (ts.pat_section({1: ts.PMT_PID}, number=0, last=1), ts.pat_section({2: 0x30}, number=1, last=1))
    pmt = ts.pmt_section([(ts.H264, ts.VIDEO_PID, b"")])
    stream = psi.packetize(0, parts, 1) + psi.packetize(ts.PMT_PID, (pmt,), 0) + ts.picture(ts.KEY_H264)
    (point,), indexer = index(stream)
    assert indexer.tables.pmt_pids == (ts.PMT_PID, 0x30)
    assert point.prefix == stream[: 3 * 188]


def test_of_a_pat_so_many_sections_are_followed() -> None:
    pids = [0x30 + number for number in range(psi.PAT_SECTIONS_MAX + 2)]
    last = len(pids) - 1
    parts = tuple(ts.pat_section({n + 1: pid}, number=n, last=last) for n, pid in enumerate(pids))
    _, indexer = index(psi.packetize(0, parts, 1))
    assert indexer.tables.pmt_pids == tuple(pids[: psi.PAT_SECTIONS_MAX])


def test_of_a_former_reference_nothing_is_waited_for() -> None:
    stream = b""
    for number in range(20):
        pid = 0x200 + number
        pmt = ts.pmt_section([(ts.H264, pid, b"")], version=number)
        start = ts.packet(pid, 0, body=ts.pes(b"\0\0\0\1\x09\xf0"), start=True)
        stream += ts.tables(number)[:188] + psi.packetize(ts.PMT_PID, (pmt,), number) + start
    _, indexer = index(stream)
    assert list(indexer._units) == [0x200 + 19]


def test_a_long_pmt_spans_packets_and_is_given_whole() -> None:
    pmt = ts.pmt_section([(ts.H264, ts.VIDEO_PID, b"\x52\x01\x00" * 150)])
    written = psi.packetize(ts.PMT_PID, (pmt,), 4)
    pat = psi.packetize(0, (ts.pat_section({1: ts.PMT_PID}),), 0)
    video = ts.packet(ts.VIDEO_PID, 0, body=b"x" * 184)
    stream = pat + written[:188] + video + written[188:376] + video + written[376:] + ts.picture(ts.KEY_H264)
    for sizes in (None, [1], [3]):
        (point,), _ = index(stream, sizes)
        assert point.prefix == pat + written


def test_the_newest_clock_is_known() -> None:
    found, indexer = index(ts.tables() + ts.clock(1.5) + ts.picture(ts.KEY_H264, marked=True), [2, 1])
    assert indexer.pcr == int(1.5 * 27_000_000)
    assert found[0].pcr == indexer.pcr
    assert mpegts.last_pcr(ts.clock(1.0) + ts.clock(2.0, pid=0x99), ts.VIDEO_PID) == 27_000_000
    assert mpegts.last_pcr(ts.clock(1.0, pid=0x99), ts.VIDEO_PID) is None
    assert mpegts.last_pcr(b"", ts.VIDEO_PID) is None


def test_a_blind_point_has_the_tables_too() -> None:
    _, indexer = index(ts.tables())
    point = indexer.blind(188, 3.0, 4.0)
    assert point == RandomAccess(188, ts.tables(), None, None, 3.0, 4.0, blind=True)


def places(indexer: Indexer, media: bytes, position: int, *chunks: int) -> list[tuple[int, int | None, int | None]]:
    """Scan, and return where it could be cut blindly: positions, time stamps, and clocks in seconds."""
    arrivals = [Arrival(position + chunk * 188, 1.0 + chunk, 2.0 + chunk) for chunk in (0, *chunks)]
    indexer.scan(media, arrivals)
    found = indexer.places(media, arrivals)
    assert all(place.blind and place.prefix == indexer.tables.packets() for place in found)
    return [(one.position // 188, one.pts, None if one.pcr is None else one.pcr // 27_000_000) for one in found]


def test_what_has_to_be_cut_blindly_is_cut_where_pictures_begin_or_at_clocks_or_anywhere() -> None:
    indexer = Indexer()
    some = ts.packet(ts.VIDEO_PID, body=b"x")
    assert places(indexer, ts.tables(), 0) == [(0, None, None)]
    stamped = [ts.picture(ts.OTHER_H264, pts=pts) for pts in (90_000, 99_000)]
    media = stamped[0] + ts.clock(5.0) + some + stamped[1] + ts.clock(6.0) + ts.picture(ts.OTHER_H264)
    assert places(indexer, media, 2 * 188) == [(2, None, None), (2, 90_000, None), (5, 99_000, 5)]
    assert indexer.reached(8 * 188) == RandomAccess(8 * 188, b"", 99_000, 6 * 27_000_000, 1.0, 2.0, blind=True)
    media = some + ts.clock(6.5) + ts.clock(6.9) + ts.clock(7.1, pid=0x99)
    assert places(indexer, media, 8 * 188) == [(5, 99_000, 6), (9, None, 6), (10, None, 6)]
    assert indexer.reached(12 * 188).pts == 99_000  # the next picture may be on its way
    assert places(indexer, some + ts.clock(8.0), 12 * 188) == [(5, 99_000, 6), (13, None, 8)]
    assert indexer.reached(14 * 188) == RandomAccess(14 * 188, b"", None, 8 * 27_000_000, 1.0, 2.0, blind=True)
    assert places(indexer, some * 3, 14 * 188, 2) == [(14, None, 8), (14, None, 8), (16, None, 8)]


def test_without_a_clock_a_picture_counts_for_a_second() -> None:
    indexer = Indexer()
    indexer.scan(ts.tables() + ts.picture(ts.OTHER_H264, pts=90_000), [Arrival(0, 1.0, 1.0)])
    for now, pts in ((2.0, 90_000), (2.1, None)):
        indexer.scan(ts.packet(ts.VIDEO_PID, body=b"x"), [Arrival(3 * 188, now, now)])
        assert indexer.reached(4 * 188).pts == pts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_what_is_found_does_not_depend_on_the_chunks(sizes: list[int]) -> None:
    stream = clip(3)
    places = [(point.position, point.prefix, point.pts) for point in index(stream)[0]]
    assert len(places) == 3
    assert [(point.position, point.prefix, point.pts) for point in index(stream, sizes)[0]] == places


@settings(max_examples=200)
@given(st.binary(max_size=188 * 12), CUTS)
def test_any_bytes_can_be_indexed(noise: bytes, sizes: list[int]) -> None:
    packets = bytearray(noise[: len(noise) // 188 * 188])
    packets[::188] = b"\x47" * (len(packets) // 188)
    index(ts.tables() + bytes(packets), sizes)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video", "mpeg4"])
def test_key_frames_are_found_without_marks(codec: str) -> None:
    """As ffprobe finds them, when the random access indicators are taken out of the stream."""
    media = clip(3, codec)
    listed = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts,flags", "-of", "json", "-"],
        input=media,
        capture_output=True,
        check=True,
    )
    wanted = [packet["pts"] for packet in json.loads(listed.stdout)["packets"] if "K" in packet["flags"]]
    unmarked = bytearray(media)
    for at in range(0, len(unmarked), 188):
        if unmarked[at + 3] & 0x20 and unmarked[at + 4]:
            unmarked[at + 5] &= ~0x40
    found, _ = index(bytes(unmarked), [7])
    assert [point.pts for point in found] == wanted
    assert len(wanted) >= 3
