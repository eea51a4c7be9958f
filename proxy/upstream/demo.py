r"""Plays the short clip that ships with the package, for ever, as one unbroken stream; needs no network.

The clip (``demo.ts``, 6.4 s, H.264 baseline and AAC) holds whole numbers of video frames (160) and audio frames (300),
so it follows itself without a seam: each round only moves PCR, PTS and DTS on by the clip's length and continues
the continuity counters. Made with::

    ffmpeg -f lavfi -i testsrc2=size=480x270:rate=25 \\
           -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000 -t 25.6 \\
           -c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryslow -g 32 -keyint_min 32 \\
           -sc_threshold 0 -b:v 140k -maxrate 170k -bufsize 170k -c:a aac -ac 1 -b:a 48k long.mp4
    ffmpeg -ss 6.4 -i long.mp4 -t 6.4 -c copy -f mpegts -mpegts_flags +pat_pmt_at_frames -pcr_period 40 demo.ts
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from proxy.core.psi import PACKET_BYTES
from proxy.upstream.items import Reader

CLIP_TICKS: Final = 576_000
"""Length of the clip in 90 kHz ticks."""
TICK_HZ: Final = 90_000
TIMESTAMP_MASK: Final = (1 << 33) - 1
SLICE_SECONDS: Final = 0.1
LEAD_SECONDS: Final = 1.0
"""So much is sent at once, so that a first picture does not wait."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of whole packets, and when it is due after the clip's start."""

    end: int
    due_seconds: float


@dataclass(frozen=True, slots=True)
class Clip:
    """The clip and where its clocks and counters lie (ISO/IEC 13818-1, 2.4.3)."""

    content: bytes
    clocks: tuple[int, ...]
    """Offsets of the 33 bit PCR bases."""
    stamps: tuple[int, ...]
    """Offsets of PTS and DTS fields."""
    counters: tuple[tuple[int, int], ...]
    """Offsets of the bytes with continuity counters, and by how much a round moves them on."""
    slices: tuple[Slice, ...]

    def round(self, number: int) -> bytes:
        """Return the clip as it stands in the n-th round, counted from 0."""
        content = bytearray(self.content)
        shift = number * CLIP_TICKS
        for at in self.clocks:
            _write_clock(content, at, _read_clock(content, at) + shift)
        for at in self.stamps:
            _write_stamp(content, at, _read_stamp(content, at) + shift)
        for at, step in self.counters:
            content[at] = content[at] & 0xF0 | (content[at] + number * step) & 0x0F
        return bytes(content)


async def read() -> Reader:
    """Yield the clip round after round, at the speed of its own clock."""
    clip = load()
    now = asyncio.get_running_loop().time
    began = now() - LEAD_SECONDS
    number = 0
    while True:
        content = clip.round(number)
        start = 0
        for piece in clip.slices:
            await asyncio.sleep(max(0.0, began + piece.due_seconds - now()))
            yield content[start : piece.end]
            start = piece.end
        number += 1
        began += CLIP_TICKS / TICK_HZ


@cache
def load() -> Clip:
    """Read the clip from the package and find its clocks, stamps and counters."""
    content = resources.files(__package__).joinpath("demo.ts").read_bytes()
    clocks: list[int] = []
    stamps: list[int] = []
    counted: list[tuple[int, int]] = []
    for at in range(0, len(content), PACKET_BYTES):
        pid = (content[at + 1] & 0x1F) << 8 | content[at + 2]
        has_field, has_payload = content[at + 3] & 0x20, content[at + 3] & 0x10
        if has_field and content[at + 4] and content[at + 5] & 0x10:
            clocks.append(at + 6)
        if not has_payload:
            continue
        counted.append((at + 3, pid))
        payload = at + 4 + (1 + content[at + 4] if has_field else 0)
        if content[at + 1] & 0x40 and content[payload : payload + 3] == b"\0\0\1":
            flags = content[payload + 7] >> 6
            stamps += [payload + 9] if flags & 2 else []
            stamps += [payload + 14] if flags == 3 else []
    steps = Counter(pid for _, pid in counted)
    return Clip(
        content=content,
        clocks=tuple(clocks),
        stamps=tuple(stamps),
        counters=tuple((at, steps[pid]) for at, pid in counted),
        slices=_slices(content, clocks),
    )


def _slices(content: bytes, clocks: list[int]) -> tuple[Slice, ...]:
    """Cut before packets with a clock, at most every SLICE_SECONDS."""
    slices: list[Slice] = []
    first = _read_clock(content, clocks[0])
    due_seconds = 0.0
    for clock in clocks[1:]:
        seconds = (_read_clock(content, clock) - first) / TICK_HZ
        if seconds - due_seconds >= SLICE_SECONDS:
            slices.append(Slice(clock - 6, due_seconds))
            due_seconds = seconds
    return (*slices, Slice(len(content), due_seconds))


def _read_clock(content: bytes | bytearray, at: int) -> int:
    return int.from_bytes(content[at : at + 4]) << 1 | content[at + 4] >> 7


def _write_clock(content: bytearray, at: int, ticks: int) -> None:
    ticks &= TIMESTAMP_MASK
    content[at : at + 4] = (ticks >> 1).to_bytes(4)
    content[at + 4] = (ticks & 1) << 7 | content[at + 4] & 0x7F


def _read_stamp(content: bytes | bytearray, at: int) -> int:
    high, middle, low = content[at] >> 1 & 0x07, content[at + 1 : at + 3], content[at + 3 : at + 5]
    return high << 30 | int.from_bytes(middle) >> 1 << 15 | int.from_bytes(low) >> 1


def _write_stamp(content: bytearray, at: int, ticks: int) -> None:
    ticks &= TIMESTAMP_MASK
    content[at] = content[at] & 0xF1 | ticks >> 30 << 1
    content[at + 1 : at + 3] = ((ticks >> 15 & 0x7FFF) << 1 | 1).to_bytes(2)
    content[at + 3 : at + 5] = ((ticks & 0x7FFF) << 1 | 1).to_bytes(2)
