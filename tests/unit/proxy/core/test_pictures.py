import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pictures import is_key
from proxy.core.psi import Codec
from tests.fakes import transport_packets as ts

AUD, SPS, PPS = b"\0\0\1\x09\xf0", b"\0\0\1\x67\x42\x00", b"\0\0\1\x68\xce"
RECOVERY, SEI = b"\0\0\1\x06\x06\x01\x80", b"\0\0\1\x06\x05\x01\x80"
SLICE_I, SLICE_P = b"\0\0\1\x41\x88\x80\x80\x80\x80", b"\0\0\1\x41\x9a\x80\x80\x80\x80"  # slice_type 7 and 5
SLICE_FAR = b"\0\0\1\x41\0\0\0\x01\x80"  # its numbers do not fit into what is read


@pytest.mark.parametrize(
    ("codec", "unit", "complete", "answer"),
    [
        pytest.param(Codec.H264, ts.KEY_H264, False, True, id="h264: an IDR picture"),
        pytest.param(Codec.H264, AUD + SPS + PPS + SLICE_I, False, True, id="h264: an intra slice after parameters"),
        pytest.param(Codec.H264, AUD + SPS + PPS + SLICE_P, False, False, id="h264: parameters before any slice"),
        pytest.param(Codec.H264, AUD + SPS + SLICE_FAR, False, False, id="h264: a slice with a far first block"),
        pytest.param(Codec.H264, AUD + SLICE_I, False, False, id="h264: an intra slice without parameters"),
        pytest.param(Codec.H264, AUD + SPS + RECOVERY + SLICE_P, False, True, id="h264: a recovery point"),
        pytest.param(Codec.H264, AUD + SPS + SEI + SLICE_P, False, False, id="h264: another message"),
        pytest.param(Codec.H264, AUD + SPS, False, None, id="h264: too little"),
        pytest.param(Codec.H264, AUD + SPS, True, True, id="h264: no slice, but parameters"),
        pytest.param(Codec.H264, AUD, True, False, id="h264: nothing"),
        pytest.param(Codec.H264, AUD + SPS + SLICE_I[:6], False, None, id="h264: the slice is cut off"),
        pytest.param(Codec.H264, AUD + SPS + SLICE_I[:6], True, True, id="h264: the slice is cut off for good"),
        pytest.param(Codec.H265, b"\0\0\1\x46\x01\0\0\1\x26\x01\xaf", False, True, id="h265: IDR_W_RADL"),
        pytest.param(Codec.H265, b"\0\0\1\x2a\x01\xaf", False, True, id="h265: CRA"),
        pytest.param(Codec.H265, b"\0\0\1\x02\x01\xd0", False, False, id="h265: a trailing picture"),
        pytest.param(Codec.H265, b"\0\0\1\x40\x01\x0c\0\0\1\x42\x01\x01", False, None, id="h265: too little"),
        pytest.param(Codec.H265, b"\0\0\1\x40\x01\x0c\0\0\1\x42\x01\x01", True, True, id="h265: parameters only"),
        pytest.param(Codec.H265, b"", True, False, id="h265: nothing"),
        pytest.param(Codec.MPEG2, b"\0\0\1\xb3\x14", False, True, id="mpeg2: a sequence header"),
        pytest.param(Codec.MPEG2, b"\0\0\1\xb8\x00\0\0\1\x00\x00", False, False, id="mpeg2: a picture without one"),
        pytest.param(Codec.MPEG2, b"\0\0", False, None, id="mpeg2: too little"),
        pytest.param(Codec.MPEG2, b"\0\0", True, False, id="mpeg2: nothing"),
        pytest.param(Codec.MPEG4, b"\0\0\1\xb0\x01\0\0\1\xb6\x10", False, True, id="mpeg4: an intra plane"),
        pytest.param(Codec.MPEG4, b"\0\0\1\xb6\x50", False, False, id="mpeg4: a predicted plane"),
        pytest.param(Codec.MPEG4, b"\0\0\1\xb6", False, None, id="mpeg4: too little"),
        pytest.param(Codec.MPEG4, b"\0\0\1\xb6", True, False, id="mpeg4: nothing"),
        pytest.param(Codec.AUDIO, b"", False, True, id="sound begins anywhere"),
        pytest.param(Codec.VIDEO, ts.KEY_H264, False, False, id="video that is not looked into"),
    ],
)
def test_a_picture(codec: Codec, unit: bytes, complete: bool, answer: bool | None) -> None:
    assert is_key(codec, unit, complete=complete) is answer


@given(
    st.sampled_from(list(Codec)), st.lists(st.sampled_from([b"\0\0\1", b"\x67", b"\x41", b"\x06", b"\xb3", b"\xff"]))
)
def test_complete_units_are_always_answered_and_answers_stand(codec: Codec, parts: list[bytes]) -> None:
    unit = b"".join(parts)
    final = is_key(codec, unit, complete=True)
    assert final is not None
    early = is_key(codec, unit, complete=False)
    assert early in (None, final)
