import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import mpegts
from proxy.core.feed import Feed
from proxy.core.onset import Onset
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment
from tests.fakes.viewing import clip, decode_errors

MIB = 1024 * 1024


def feed(*, ring_bytes_max: int = 8 * MIB, hls: bool = True, segment_seconds: float = 1.0) -> Feed:
    return Feed(
        ring_bytes_max=ring_bytes_max,
        new_segment=MemorySegment,
        hls=hls,
        segment_seconds=segment_seconds,
        window_segments=3,
    )


def pour(one: Feed, media: bytes, *, now: float = 0.0, chunk_bytes: int = 10_000, rate: float = 150_000) -> float:
    for at in range(0, len(media), chunk_bytes):
        chunk = media[at : at + chunk_bytes]
        one.write(chunk, now, 1000.0 + now)
        now += len(chunk) / rate
    return now


def joined(one: Feed) -> bytes:
    """What a viewer that comes now is given."""
    point = one.join()
    assert point is not None
    return point.prefix + (one.ring.read(point.position, one.head - point.position) or b"")


def test_whoever_joins_gets_a_picture_at_once() -> None:
    one = feed()
    pour(one, clip(4))
    assert one.joinable
    media = joined(one)
    assert media[:4] == b"\x47\x40\x00" + bytes((media[3],))
    assert decode_errors(media) == ""


def test_every_segment_decodes_by_itself_and_all_of_them_together() -> None:
    one = feed()
    pour(one, clip(6))
    assert one.hls is not None
    parts = [one.media(segment) or b"" for segment in one.hls.listed]
    assert len(parts) == 3
    for part in parts:
        assert len(part) % 188 == 0
        assert decode_errors(part) == ""
    assert decode_errors(b"".join(parts)) == ""


def test_nothing_can_be_joined_before_a_picture() -> None:
    one = feed()
    one.write(ts.tables() * 4, 0.0, 0.0)
    assert not one.joinable
    assert one.join() is None
    assert one.playlist() is None
    one.write(ts.picture(ts.KEY_H264), 0.0, 0.0)
    assert one.joinable


def test_junk_is_counted_and_not_passed_on() -> None:
    one = feed()
    assert one.write(b"<html>" * 100, 0.0, 0.0) == 0
    assert one.head == 0
    assert one.bytes_in == 600
    good = ts.tables() * 2
    assert one.write(good, 0.0, 0.0) == len(good)
    assert one.resyncs == 1
    assert one.junk_bytes == 600


def poor_video(counter: int) -> bytes:
    """Pictures none of which is a key picture."""
    return b"".join(ts.picture(ts.OTHER_H264, counter + n) for n in range(4))


def test_video_without_key_pictures_is_joined_anywhere_after_five_seconds() -> None:
    one = feed()
    one.write(ts.tables(), 0.0, 0.0)
    one.write(poor_video(0), 0.1, 0.1)
    one.write(poor_video(4), 5.0, 5.0)
    assert not one.joinable
    one.write(poor_video(8), 5.1, 5.1)
    point = one.join()
    assert point is not None
    assert point.blind
    assert point.prefix == ts.tables()
    one.write(poor_video(12), 5.5, 5.5)
    assert one.join() == point  # not at every write
    one.write(poor_video(16), 6.2, 6.2)
    later = one.join()
    assert later is not None
    assert later.position > point.position
    one.write(ts.picture(ts.KEY_H264), 6.3, 6.3)
    found = one.join()
    assert found is not None
    assert not found.blind
    one.write(poor_video(0), 9.0, 9.0)
    assert one.join() == found  # a real one is better, however old


def test_when_the_last_key_picture_is_dropped_the_wait_has_been_long_enough() -> None:
    one = feed(ring_bytes_max=188 * 8 * 4)
    one.write(ts.tables() + ts.picture(ts.KEY_H264), 0.0, 0.0)
    for number in range(12):
        one.write(poor_video(0), 1.0 + number, 0.0)
    point = one.join()
    assert point is not None
    assert point.blind


def test_without_tables_there_is_no_joining_at_all() -> None:
    one = feed()
    for second in range(20):
        one.write(poor_video(0), float(second), 0.0)
    assert not one.joinable


def test_a_new_connection_is_announced_on_every_pid() -> None:
    one = feed()
    first = ts.tables(3) + ts.picture(ts.KEY_H264, 9) + ts.packet(ts.AUDIO_PID, 2, body=b"x")
    one.write(first, 0.0, 0.0)
    one.discontinue()
    again = ts.tables(0) + ts.picture(ts.KEY_H264, 0)
    one.write(again + ts.packet(ts.VIDEO_PID, 1, body=b"x"), 1.0, 1.0)
    late = ts.packet(ts.AUDIO_PID, 8, body=b"x") * 4
    one.write(late, 1.5, 1.5)
    after = one.ring.read(len(first), one.head) or b""
    head = one.head
    one.write(ts.packet(0x55, 8, body=b"x") * 4, 31.5, 31.5)  # the last one that is looked at
    one.write(ts.packet(0x66, 8, body=b"x") * 4, 31.6, 31.6)
    after += one.ring.read(head, one.head) or b""
    announced = [
        (after[at + 1] << 8 | after[at + 2]) & 0x1FFF
        for at in range(0, len(after), 188)
        if after[at + 3] & 0x20 and after[at + 4] == 183 and after[at + 5] & 0x80
    ]
    assert announced == [0, ts.VIDEO_PID, ts.PMT_PID, ts.AUDIO_PID, 0x55]
    counters: dict[int, int] = {}
    for at in range(0, len(after), 188):
        pid, control = (after[at + 1] << 8 | after[at + 2]) & 0x1FFF, after[at + 3]
        if pid in announced and at < 8 * 188 and control & 0x10 and pid in counters:
            assert control & 0x0F == (counters[pid] + 1) & 0x0F
        counters[pid] = control & 0x0F


def test_after_a_break_nothing_is_passed_on_before_a_picture_can_begin() -> None:
    one = feed()
    first = ts.tables(3) + ts.picture(ts.KEY_H264, 9)
    one.write(first + ts.packet(ts.VIDEO_PID, 10, body=b"x"), 0.0, 0.0)
    one.discontinue()
    head = one.head
    middle = ts.tables(0) + ts.picture(ts.OTHER_H264, 5) + ts.picture(ts.OTHER_H264, 6)
    assert one.write(middle, 1.0, 1.0) == len(middle)  # taken, and held
    assert (one.head, one.newest_at) == (head, 0.0)
    one.write(ts.picture(ts.KEY_H264, 7), 1.1, 1.1)
    passed = one.ring.read(head, one.head) or b""
    assert passed.endswith(ts.tables(0) + ts.picture(ts.KEY_H264, 7))
    assert ts.picture(ts.OTHER_H264, 6) not in passed
    assert one.newest_at == 1.1


def test_another_connection_takes_over_with_the_packet_that_is_half_there() -> None:
    one = feed()
    one.write(ts.tables(3) + ts.picture(ts.KEY_H264, 9) + b"\x47half", 0.0, 0.0)
    head = one.head
    onset = Onset()
    onset.push(ts.tables(0) + ts.picture(ts.KEY_H264, 3) + ts.picture(ts.OTHER_H264, 4)[:100], 0.5, 0.5)
    one.take_over(onset, 1.0, 1.0)
    one.write(ts.picture(ts.OTHER_H264, 4)[100:], 1.1, 1.1)
    passed = one.ring.read(head, one.head) or b""
    assert passed.endswith(ts.picture(ts.KEY_H264, 3) + ts.picture(ts.OTHER_H264, 4))
    assert one.resyncs == 0


def test_the_first_connection_is_no_break() -> None:
    one = feed()
    one.write(b"\x47junk", 0.0, 0.0)
    one.discontinue()
    media = clip(3)
    pour(one, media)
    assert one.ring.read(0, one.head) == media
    assert one.hls is not None
    assert not any(segment.discontinuity for segment in one.hls.listed)


def test_a_break_is_a_discontinuity_for_hls_and_viewers_join_before_it_until_there_is_better() -> None:
    one = feed()
    now = pour(one, clip(3))
    before = one.join()
    one.discontinue()
    assert one.join() == before
    pour(one, clip(3), now=now)
    assert one.hls is not None
    assert [segment.discontinuity for segment in one.hls.listed].count(True) == 1
    after = one.join()
    assert after is not None
    assert before is not None
    assert after.position > before.position
    media = one.ring.read(0, one.head) or b""
    assert media[::188] == b"\x47" * (len(media) // 188)


def test_after_a_break_too_the_wait_for_a_key_picture_ends() -> None:
    one = feed()
    one.write(ts.tables() + ts.picture(ts.KEY_H264) + poor_video(0), 0.0, 0.0)
    one.discontinue()
    one.write(ts.tables() + poor_video(0), 1.0, 1.0)
    one.write(poor_video(0), 6.5, 6.5)
    point = one.join()
    assert point is not None
    assert point.blind


def test_keepalives_are_null_packets_and_no_media() -> None:
    one = feed()
    assert one.keepalive(0.0) == 0  # nothing was ever sent: nothing to keep alive
    one.write(ts.tables() * 2, 0.0, 0.0)
    before = one.bytes_in
    assert one.keepalive(1.0, packets=3) == 3 * 188
    assert one.ring.read(one.head - 564, 564) == mpegts.NULL_PACKET * 3
    assert one.bytes_in == before


def test_a_moved_viewer_is_told_of_the_jump() -> None:
    one = feed()
    pour(one, clip(4))
    point = one.join()
    assert point is not None
    lead = one.lead(point)
    assert lead.endswith(point.prefix)
    jumps = lead[: -len(point.prefix)]
    assert len(jumps) // 188 >= 4  # PAT, PMT, video, sound, and maybe the service table
    whole = lead + (one.ring.read(point.position, one.head) or b"")
    last: dict[int, int] = {}
    for at in range(0, len(whole), 188):
        pid, control = (whole[at + 1] << 8 | whole[at + 2]) & 0x1FFF, whole[at + 3]
        if pid in last:
            assert control & 0x0F == (last[pid] + (1 if control & 0x10 else 0)) & 0x0F
        last[pid] = control & 0x0F


def test_a_segment_without_end_is_cut_before_it_fills_the_ring() -> None:
    one = feed(ring_bytes_max=188 * 8 * 16)
    one.write(ts.tables() + ts.picture(ts.KEY_H264, pts=0), 0.0, 0.0)
    for number in range(40):
        one.write(ts.clock(number / 10) + poor_video(0), number / 10, 0.0)
    assert one.hls is not None
    assert one.hls.listed
    assert one.hls.listed[0].size <= 188 * 8 * 16 // 2
    assert one.playlist("?v=t") is not None


def test_an_ended_feed_lists_its_last_segment_too() -> None:
    one = feed()
    pour(one, clip(3))
    live = one.playlist() or ""
    ended = one.playlist(ended=True) or ""
    assert ended.count("#EXTINF") == live.count("#EXTINF") + 1
    assert ended.endswith("#EXT-X-ENDLIST\n")
    assert "ENDLIST" not in live
    assert ended == one.playlist(ended=True)


def test_segments_are_found_by_number_while_the_ring_has_them() -> None:
    one = feed(ring_bytes_max=1 * MIB)
    media = clip(10)
    now = pour(one, media[: len(media) // 3 // 188 * 188])
    assert one.hls is not None
    first = one.hls.listed[0]
    assert one.media_segment(first.sequence) == first
    pour(one, media[len(media) // 3 // 188 * 188 :], now=now)
    assert one.media_segment(first.sequence) is None
    assert one.media(first) is None


def test_a_feed_without_hls_has_no_segments() -> None:
    one = feed(hls=False)
    now = pour(one, clip(2))
    one.discontinue()
    pour(one, clip(2), now=now)
    assert one.playlist() is None
    assert one.media_segment(0) is None


def test_a_closed_feed_is_kept_for_those_who_still_read() -> None:
    before = MemorySegment.open_count
    one = feed()
    pour(one, clip(2))
    one.hold()
    one.close()
    one.close()
    assert one.closed
    assert joined(one)
    assert one.write(ts.tables() * 4, 9.0, 9.0) == 0
    assert one.keepalive(9.0) == 0
    one.release()
    assert not one.joinable
    assert one.tail == one.head
    assert one.playlist() is None
    assert MemorySegment.open_count == before


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=6), st.integers(0, 187))
def test_chunks_make_no_difference(sizes: list[int], junk: int) -> None:
    media = bytes(junk) + clip(3)
    whole, cut = feed(), feed()
    whole.write(media, 0.0, 0.0)
    at = number = 0
    while at < len(media):
        size = sizes[number % len(sizes)]
        cut.write(media[at : at + size], 0.0, 0.0)
        at, number = at + size, number + 1
    assert cut.head == whole.head
    assert [p.position for p in cut.ring.points] == [p.position for p in whole.ring.points]
    assert (cut.resyncs, cut.junk_bytes) == (whole.resyncs, whole.junk_bytes)


@pytest.mark.parametrize("audio_only", [False, True])
def test_sound_alone_is_joined_at_any_start(audio_only: bool) -> None:
    one = feed()
    pour(one, clip(3, audio_only=audio_only))
    assert decode_errors(joined(one)) == ""
    assert (len(one.ring.points) > 5) is audio_only


def test_what_was_not_looked_at_at_once_is_known_as_soon_as_it_is_asked_for_with_the_time_it_came_at() -> None:
    one = feed(hls=False)
    one.write(ts.tables() + ts.picture(ts.KEY_H264, pts=0) + mpegts.NULL_PACKET, 1.0, 1001.0)
    assert one.joinable
    positions = []
    for second in (2.0, 3.0):
        positions.append(one.head)
        one.write(ts.picture(ts.KEY_H264, pts=int(second * 90_000)), second, 1000.0 + second)
    one.keepalive(4.0)
    point = one.join()
    assert point is not None
    assert (point.position, point.at, point.wall) == (positions[1], 3.0, 1003.0)
    assert [(known.position, known.at) for known in one.ring.points] == [
        (376, 1.0),
        *zip(positions, (2.0, 3.0), strict=True),
    ]


def test_a_window_of_long_segments_is_kept_whole() -> None:
    one = feed(segment_seconds=4.0)
    for tenth in range(1200):
        picture = ts.KEY_H264 if tenth % 100 == 0 else ts.OTHER_H264
        one.write(ts.tables(tenth) + ts.picture(picture, pts=9000 * tenth) + mpegts.NULL_PACKET, tenth / 10, tenth / 10)
    assert one.hls is not None
    assert [round(segment.duration_seconds) for segment in one.hls.listed] == [10, 10, 10]
    assert len(list(one.hls.kept)) > len(one.hls.listed)
