"""Reads MPEG-TS as a strict receiver does: whole packets, and continuity counters by the book."""

from collections.abc import Iterator

PID_NULL = 0x1FFF


def packets(media: bytes) -> Iterator[bytes]:
    for at in range(0, len(media) // 188 * 188, 188):
        yield media[at : at + 188]


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def is_jump(packet: bytes) -> bool:
    """Whether it carries the discontinuity indicator (ISO/IEC 13818-1, 2.4.3.5)."""
    return bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x80)


def counter_faults(media: bytes) -> list[str]:
    """Return where the counter of a PID does not continue and no indicator says so (2.4.3.3)."""
    last: dict[int, bytes] = {}
    faults = []
    for number, packet in enumerate(packets(media)):
        pid = pid_of(packet)
        if packet[0] != 0x47:
            faults.append(f"packet {number} has no sync byte")
        if pid == PID_NULL:
            continue
        before = last.get(pid)
        step = 1 if packet[3] & 0x10 else 0
        is_repeat = before == packet and step
        if before is not None and not is_jump(packet) and not is_repeat:
            expected = (before[3] & 0x0F) + step & 0x0F
            if packet[3] & 0x0F != expected:
                faults.append(f"packet {number}, PID {pid}: {packet[3] & 0x0F} instead of {expected}")
        last[pid] = packet
    return faults


def jumps(media: bytes) -> set[int]:
    """Return the PIDs on which a discontinuity is signalled."""
    return {pid_of(packet) for packet in packets(media) if is_jump(packet)}


def null_packets(media: bytes) -> int:
    return sum(pid_of(packet) == PID_NULL for packet in packets(media))
