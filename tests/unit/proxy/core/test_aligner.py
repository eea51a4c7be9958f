from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.aligner import LOCK_PACKETS, PADDING_BYTES_MAX, Aligner
from tests.fakes import transport_packets as ts

PACKETS = st.lists(
    st.tuples(st.integers(0x20, 0x1FFE), st.integers(0, 15), st.binary(min_size=1, max_size=184)),
    min_size=4,
    max_size=30,
).map(lambda rows: b"".join(ts.packet(pid, counter, body=body) for pid, counter, body in rows))
CUTS = st.lists(st.integers(1, 700), min_size=1, max_size=10)


def chunks(stream: bytes, sizes: list[int]) -> list[bytes]:
    cut, at = [], 0
    while at < len(stream):
        cut.append(stream[at : at + sizes[len(cut) % len(sizes)]])
        at += len(cut[-1])
    return cut


def align(stream: bytes, sizes: list[int]) -> tuple[bytes, Aligner]:
    aligner = Aligner()
    return b"".join(aligner.push(chunk) for chunk in chunks(stream, sizes)), aligner


@given(PACKETS, CUTS)
def test_however_packets_are_cut_they_come_out_the_same(stream: bytes, sizes: list[int]) -> None:
    packets, aligner = align(stream, sizes)
    assert packets == stream
    assert (aligner.junk_bytes, aligner.resyncs) == (0, 0)


@given(st.binary(max_size=3000), PACKETS, st.binary(max_size=3000), PACKETS, CUTS)
def test_junk_never_yields_misaligned_output(
    before: bytes, first: bytes, between: bytes, second: bytes, sizes: list[int]
) -> None:
    stream = before + first + between + second
    packets, aligner = align(stream, sizes)
    whole, reference = align(stream, [len(stream)])
    assert packets == whole
    assert (aligner.junk_bytes, aligner.resyncs) == (reference.junk_bytes, reference.resyncs)
    assert len(packets) % 188 == 0
    assert packets[::188] == b"\x47" * (len(packets) // 188)
    waiting = len(stream) - len(packets) - aligner.junk_bytes
    assert 0 <= waiting < LOCK_PACKETS * (188 + PADDING_BYTES_MAX) + 1


JUNK = st.binary(min_size=1, max_size=600).map(lambda junk: junk.replace(b"\x47", b"\x46"))
RUNS = st.lists(st.tuples(st.integers(LOCK_PACKETS, 9), st.integers(0, 187), JUNK), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.just(b"") | JUNK, RUNS, CUTS)
def test_of_packets_with_junk_among_and_within_them_the_whole_ones_come_out(
    seed: int, before: bytes, runs: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    """Each run of packets is followed by one that junk has cut in two (or, cut at 0, by junk alone).

    What is cut has no sync bytes: one at the very place where the next packet is expected cannot be told from a packet.
    """
    random = Random(seed)
    stream, whole, cut = before, [], []
    for count, at, junk in runs:
        made = [ts.packet(0x100, n, body=random.randbytes(184)) for n in range(count)]
        made.append(ts.packet(0x100, count, body=random.randbytes(184).replace(b"\x47", b"\x46")))
        whole += made[:count]
        cut.append(made[count][: at or 188])
        stream += b"".join(made[:count]) + made[count][:at] + junk + (made[count][at:] if at else b"")
    end = [ts.packet(0x101, n, body=random.randbytes(184)) for n in range(10)]  # no doubt waits for more than these
    packets, aligner = align(stream + b"".join(end), sizes)
    got = [packets[at : at + 188] for at in range(0, len(packets), 188)]
    assert all(len(packet) == 188 and packet[0] == 0x47 for packet in got)
    assert [packet for packet in got if packet in whole + end] == whole + end
    damaged = [packet for packet in got if packet not in whole + end]
    assert all(any(packet.startswith(head) for head in cut) for packet in damaged)
    assert len(damaged) <= len(cut)
    assert aligner.resyncs >= 1
    assert aligner.junk_bytes == len(stream) - 188 * (len(got) - len(end))


def test_a_packet_alone_before_the_others_is_no_padded_stream() -> None:
    """Sync bytes recur at twice a packet's length too: half of the packets would be taken for padding."""
    good = b"".join(ts.packet(0x100, n, body=bytes((n,)) * 184) for n in range(30))
    packets, aligner = align(good[:188] + bytes(188) + good[188:], [1000])
    assert packets == good[188:]
    assert (aligner.junk_bytes, aligner.resyncs) == (376, 1)


def test_a_payload_of_sync_bytes_is_not_taken_for_packets() -> None:
    good = b"".join(ts.packet(0x100, n, body=b"\x47" * 184) for n in range(30))
    packets, _ = align(good[50:], [100])
    assert packets == good[188:]


def test_junk_is_skipped_and_counted() -> None:
    good = ts.tables() + ts.picture(ts.KEY_H264) + ts.packet(ts.VIDEO_PID, 1, body=b"x" * 184)
    packets, aligner = align(b"junk" + good + b"\0" * 57 + good, [57])
    assert packets == good + good
    assert (aligner.junk_bytes, aligner.resyncs) == (61, 2)


@pytest.mark.parametrize("padding", [4, 16, 57, 256], ids=lambda padding: f"{padding} bytes")
@pytest.mark.parametrize("size", [1, 100, 5000], ids=lambda size: f"chunks of {size}")
def test_packets_with_something_between_all_of_them_come_out_whole(padding: int, size: int) -> None:
    good = ts.tables() * 20
    padded = b"".join(good[at : at + 188] + b"\0" * padding for at in range(0, len(good), 188))
    packets, aligner = align(padded + b"\0" * 2000, [size])
    assert packets == good
    assert aligner.resyncs >= 40
    assert aligner.junk_bytes > 40 * padding


def test_a_sync_byte_in_junk_is_no_packet() -> None:
    good = ts.tables() * 6
    packets, aligner = align(b"\x47" + b"\0" * 200 + good, [100])
    assert packets == good
    assert aligner.resyncs == 1


def test_a_new_connection_begins_with_nothing_left_over() -> None:
    aligner = Aligner()
    good = ts.tables() * 2
    assert aligner.push(good[:-1]) == good[:-188]
    aligner.reset()
    assert aligner.push(good) == good
    assert aligner.junk_bytes == 187
    assert aligner.resyncs == 0
