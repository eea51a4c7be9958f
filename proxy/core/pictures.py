"""Whether a picture is one that a decoder can begin with: looked for when the stream does not mark it.

Pure. Reads the first bytes of an access unit: NAL units of H.264 (ITU-T H.264, 7.3.1) and H.265 (H.265, 7.3.1.1),
start codes of MPEG-1/2 and MPEG-4 part 2. A picture counts only when what a decoder needs beforehand (parameter
sets, sequence header) is in front of it, or when it is an instantaneous refresh.
"""

from proxy.core.psi import Codec

_START = b"\0\0\1"


def is_key(codec: Codec, unit: bytes, *, complete: bool) -> bool | None:
    """Return whether the access unit beginning with ``unit`` is a key picture; None: more bytes are needed.

    With ``complete`` no more bytes will come and the answer is never None.
    """
    match codec:
        case Codec.H264:
            return _h264(unit, complete=complete)
        case Codec.H265:
            return _h265(unit, complete=complete)
        case Codec.MPEG2:
            return _mpeg2(unit, complete=complete)
        case Codec.MPEG4:
            return _mpeg4(unit, complete=complete)
        case Codec.AUDIO | Codec.OTHER:
            return True
        case Codec.VIDEO:
            return False


def _h264(unit: bytes, *, complete: bool) -> bool | None:
    parameters = recovery = False
    at = unit.find(_START)
    while 0 <= at < len(unit) - 4:
        kind = unit[at + 3] & 0x1F
        if kind == 5:
            return True
        if kind in (1, 2):
            if not parameters or recovery:
                return parameters
            if len(unit) < at + 8 and not complete:
                return None
            return _slice_type(unit[at + 4 : at + 8]) % 5 in (2, 4)
        parameters = parameters or kind == 7
        recovery = recovery or (kind == 6 and unit[at + 4] == 6)  # a recovery point comes first in its SEI
        at = unit.find(_START, at + 3)
    return parameters if complete else None


def _slice_type(header: bytes) -> int:
    """Second Exp-Golomb number of a slice header (first_mb_in_slice, slice_type)."""
    bits = "".join(f"{byte:08b}" for byte in header)
    number = at = 0
    for _ in range(2):
        one = bits.find("1", at)
        zeros = one - at
        if one < 0 or one + zeros >= len(bits):
            return 0
        number = int(bits[one : one + zeros + 1], 2) - 1
        at = one + zeros + 1
    return number


def _h265(unit: bytes, *, complete: bool) -> bool | None:
    parameters = False
    at = unit.find(_START)
    while 0 <= at < len(unit) - 3:
        kind = unit[at + 3] >> 1 & 0x3F
        if 16 <= kind <= 23:  # intra random access point
            return True
        if kind < 16:
            return False
        parameters = parameters or kind == 33
        at = unit.find(_START, at + 3)
    return parameters if complete else None


def _mpeg2(unit: bytes, *, complete: bool) -> bool | None:
    at = unit.find(_START)
    while 0 <= at < len(unit) - 3:
        code = unit[at + 3]
        if code == 0xB3:  # sequence header
            return True
        if code == 0x00:  # a picture without one
            return False
        at = unit.find(_START, at + 3)
    return False if complete else None


def _mpeg4(unit: bytes, *, complete: bool) -> bool | None:
    at = unit.find(_START)
    while 0 <= at < len(unit) - 4:
        if unit[at + 3] == 0xB6:
            return unit[at + 4] >> 6 == 0  # intra-coded
        at = unit.find(_START, at + 3)
    return False if complete else None
