from proxy.core.onset import BLIND_SECONDS, HELD_BYTES_MAX, Onset
from tests.fakes import transport_packets as ts
from tests.fakes.viewing import clip, decode_errors


def test_what_is_passed_on_begins_with_tables_and_a_key_picture() -> None:
    media = clip(6)
    onset = Onset()
    at = 500 * 188 + 77  # in the middle of a packet of some picture
    while onset.begun is None:
        onset.push(media[at : at + 1000], 0.0, 0.0)
        at += 1000
    assert onset.begun[:3] == b"\x47\x40\x00"
    assert not onset.is_blind
    assert decode_errors(onset.begun + media[at - at % 188 :]) == ""


def test_a_stream_without_key_pictures_begins_anywhere_in_the_end() -> None:
    onset = Onset()
    onset.push(ts.tables() + ts.picture(ts.OTHER_H264) * 4, 1.0, 1.0)
    onset.push(ts.picture(ts.OTHER_H264, 1) * 2, 0.9 + BLIND_SECONDS, 0.0)
    assert onset.begun is None
    onset.push(ts.picture(ts.OTHER_H264, 3), 1.0 + BLIND_SECONDS, 0.0)
    assert onset.begun == ts.tables() + ts.picture(ts.OTHER_H264, 3)
    assert onset.is_blind


def test_little_is_held_of_what_never_begins() -> None:
    onset = Onset()
    block = ts.packet(ts.VIDEO_PID, body=b"x") * 20_000
    for second in range(12):
        onset.push(block, float(second), 0.0)
        assert len(onset._held) <= HELD_BYTES_MAX
    onset.push(ts.tables() + ts.picture(ts.KEY_H264), 13.0, 0.0)
    assert onset.begun == ts.tables() + ts.picture(ts.KEY_H264)


def test_what_was_dropped_is_not_begun_with() -> None:
    onset = Onset()
    # The picture begins in bytes that are dropped before enough of it has come to know what it is.
    onset.push(ts.tables() + ts.packet(ts.AUDIO_PID, body=b"x") * 50_000, 0.0, 0.0)
    begun = ts.packet(ts.VIDEO_PID, 1, body=ts.pes(b""), start=True)
    onset.push(begun, 0.1, 0.0)
    onset.push(ts.picture(ts.KEY_H264, 3), 0.2, 0.0)
    assert onset.begun is not None
    assert onset.begun.endswith(ts.picture(ts.KEY_H264, 3))
