"""Which picture of a ring becomes a snapshot, and with what around it."""

import pytest

from proxy.core import stills
from proxy.core.feed import Feed
from proxy.core.stills import Still
from tests.fakes import transport_packets as ts
from tests.fakes.memory_segment import MemorySegment


def feed(*media: bytes) -> Feed:
    made = Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=False)
    for second, block in enumerate(media):
        made.write(block, float(second), 1000.0 + second)
    return made


def group(number: int = 0) -> bytes:
    """Tables, a key picture of two packets with sound in between, and another picture."""
    return (
        ts.tables(number, audio=True)
        + ts.picture(ts.KEY_H264, 4 * number)
        + ts.packet(ts.AUDIO_PID, number, body=b"sound")
        + ts.packet(ts.VIDEO_PID, 4 * number + 1, body=f"rest {number}".encode())
        + ts.picture(ts.OTHER_H264, 4 * number + 2)
        + ts.packet(ts.VIDEO_PID, 4 * number + 3, body=f"end {number}".encode())
    )


def cut(made: Feed) -> Still:
    still = made.key_picture()
    assert still is not None
    return still


def test_the_newest_picture_is_taken_without_what_else_lies_between() -> None:
    still = cut(feed(group(0), group(1)))
    packets = [still.alone[at : at + 188] for at in range(0, len(still.alone), 188)]
    assert [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets] == [0, ts.PMT_PID, ts.VIDEO_PID, ts.VIDEO_PID]
    assert packets[-1].endswith(b"rest 1")
    assert still.wall == 1001.0


def test_the_pictures_after_it_are_there_for_those_who_need_them() -> None:
    still = cut(feed(group(0), group(1), ts.picture(ts.OTHER_H264, 8)))
    assert still.followed.startswith(still.alone)
    assert still.followed.endswith(b"end 1")


def test_a_picture_whose_end_has_not_come_waits() -> None:
    made = feed(group(0))
    first = cut(made)
    made.write(ts.tables(1) + ts.picture(ts.KEY_H264, 4), 1.0, 1001.0)
    assert cut(made) == first or cut(made).position == first.position
    made.write(ts.picture(ts.OTHER_H264, 5), 1.1, 1001.1)
    assert cut(made).position > first.position


def test_a_single_picture_without_an_end_is_none() -> None:
    assert feed(ts.tables() + ts.picture(ts.KEY_H264)).key_picture() is None
    assert feed().key_picture() is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda packet: packet[:3] + bytes((packet[3] | 0x80,)) + packet[4:], id="scrambled"),
        pytest.param(lambda packet: packet.replace(b"\0\0\1\xe0", b"\0\0\1\xc0"), id="sound"),
    ],
)
def test_what_no_decoder_shows_is_none(change) -> None:
    made = feed(group(0))
    block = made.ring.read(0, made.head)
    point = made.join()
    assert block is not None
    assert point is not None
    at = point.position
    changed = Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=False)
    changed.ring.append(block[:at] + change(block[at : at + 188]) + block[at + 188 :], 0.0)
    changed.ring.add_point(point)
    assert changed.key_picture() is None


def test_a_blind_point_is_no_picture() -> None:
    made = Feed(ring_bytes_max=1 << 20, new_segment=MemorySegment, hls=False, blind_seconds=1.0)
    for second in range(4):
        made.write((ts.tables(second) if not second else b"") + ts.picture(ts.OTHER_H264, second), float(second), 0.0)
    assert made.join() is not None
    assert made.key_picture() is None


def test_a_picture_that_is_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made = feed(group(0))
    monkeypatch.setattr(stills, "BYTES_MAX", 188 * 2)
    assert made.key_picture() is None
