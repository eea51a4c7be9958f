"""Identifiers that sort by the time of their making."""

from controller.domain.model import StreamId


def uuid7(unix_milliseconds: int, random_bytes: bytes) -> StreamId:
    """Return a UUIDv7 (RFC 9562, section 5.7) from a clock and ten random bytes that the caller hands in."""
    assert len(random_bytes) == 10
    number = int.from_bytes(unix_milliseconds.to_bytes(6, "big") + random_bytes, "big")
    number = number & ~(0xF << 76) | (0x7 << 76)  # version
    number = number & ~(0x3 << 62) | (0x2 << 62)  # variant
    text = f"{number:032x}"
    return StreamId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
