import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import psi
from proxy.core.psi import Codec, Sections, Stream, Tables
from tests.fakes import transport_packets as ts


def assemble(packets: bytes, sections: Sections | None = None) -> list[bytes]:
    sections = sections or Sections()
    return [s for at in range(0, len(packets), 188) for s in sections.push(packets[at : at + 188])]


@given(st.lists(st.binary(min_size=1, max_size=1000), min_size=1, max_size=4), st.integers(0, 15))
def test_what_is_packetized_is_assembled_again(bodies: list[bytes], counter: int) -> None:
    sections = tuple(psi.sealed(b"\2" + (0xB000 | len(body) + 4).to_bytes(2) + body) for body in bodies)
    packets = psi.packetize(0x100, sections, counter)
    assert assemble(packets) == list(sections)
    assert packets[-188:][3] & 0x0F == counter


def test_several_sections_may_share_packets() -> None:
    first, second = ts.pat_section({1: 0x20}), ts.pmt_section([(ts.H264, 0x21, b"\x52\x01\x00" * 50)])
    third = ts.pat_section({2: 0x30})
    stream = first + second
    one = bytes((0x47, 0x41, 0x00, 0x10)) + b"\0" + stream[:183]
    rest = stream[183:]
    two = bytes((0x47, 0x41, 0x00, 0x11)) + bytes((len(rest),)) + (rest + third).ljust(183, b"\xff")
    assert assemble(one + two) == [first, second, third]


def test_a_section_with_a_lost_packet_is_dropped() -> None:
    section = ts.pmt_section([(ts.H264, 0x21, b"\x52\x01\x00" * 150)])
    packets = psi.packetize(0x100, (section,), 2)
    assert len(packets) == 3 * 188
    assert assemble(packets[:188] + packets[376:]) == []


def test_a_repeated_packet_is_read_once() -> None:
    section = ts.pmt_section([(ts.H264, 0x21, b"\x52\x01\x00" * 100)])
    packets = psi.packetize(0x100, (section,), 2)
    assert assemble(packets[:188] + packets[:188] + packets[188:]) == [section]


def test_the_middle_of_a_section_is_waited_out() -> None:
    section = ts.pmt_section([(ts.H264, 0x21, b"\x52\x01\x00" * 100)])
    packets = psi.packetize(0x100, (section,), 1)
    again = psi.packetize(0x100, (section,), 3)
    assert assemble(packets[188:] + again) == [section]


def test_an_impossible_length_ends_the_assembly() -> None:
    broken = ts.packet(0x100, 0, body=b"\0\2\xff\xff" + b"x" * 180, start=True)
    section = ts.pat_section({1: 0x20})
    assert assemble(broken + ts.packet(0x100, 1, body=b"x" * 184) + psi.packetize(0x100, (section,), 2)) == [section]


def test_packets_without_payload_carry_nothing() -> None:
    assert psi.payload(ts.packet(0x100, 0)) == b""
    assert Sections().push(ts.packet(0x100, 0)) == []


@pytest.mark.parametrize(
    ("section", "table"),
    [
        pytest.param(ts.pat_section({1: 0x20}, current=False), psi.TABLE_PAT, id="one that applies later"),
        pytest.param(ts.pat_section({1: 0x20})[:-1] + b"x", psi.TABLE_PAT, id="a damaged one"),
        pytest.param(ts.pat_section({1: 0x20}), psi.TABLE_PMT, id="one of another table"),
        pytest.param(b"\0\xb0\1\0", psi.TABLE_PAT, id="one cut short"),
    ],
)
def test_a_section_that_must_not_be_used(section: bytes, table: int) -> None:
    assert not psi.is_current(section, table)


def test_a_pat_names_its_programmes_without_the_network() -> None:
    assert psi.parse_pat(ts.pat_section({0: 0x10, 1: 0x20, 2: 0x30, 3: 0x20})) == (0x20, 0x30)


@pytest.mark.parametrize(
    ("kind", "extra", "codec"),
    [
        (0x1B, b"", Codec.H264),
        (0x24, b"", Codec.H265),
        (0x02, b"", Codec.MPEG2),
        (0x10, b"", Codec.MPEG4),
        (0x33, b"", Codec.VIDEO),
        (0x0F, b"", Codec.AUDIO),
        (0x06, b"", Codec.OTHER),
        (0x06, b"\x6a\x01\x00", Codec.AUDIO),
        (0x06, b"\x52\x01\x07\x05\x04HEVC", Codec.H265),
        (0x06, b"\x05\x04Opus", Codec.AUDIO),
        (0x06, b"\x05\x04zzzz\x7a\x01\x00", Codec.AUDIO),
        (0x86, b"", Codec.AUDIO),
        (0x99, b"", Codec.OTHER),
    ],
)
def test_a_stream_type_and_its_descriptors_tell_the_codec(kind: int, extra: bytes, codec: Codec) -> None:
    program = psi.parse_pmt(ts.pmt_section([(kind, 0x21, extra)], pcr_pid=0x22, info=b"\x0e\x03abc"))
    assert program.streams == (Stream(0x21, codec),)
    assert program.pcr_pid == 0x22


@given(st.binary(min_size=0, max_size=1000))
def test_any_section_can_be_parsed(body: bytes) -> None:
    pat = psi.sealed(b"\0" + (0xB000 | len(body) + 9).to_bytes(2) + b"\0\1\xc1\0\0" + body)
    pmt = psi.sealed(b"\2" + (0xB000 | len(body) + 13).to_bytes(2) + b"\0\1\xc1\0\0\0\0\0\0" + body)
    assert all(0 <= pid < 0x2000 for pid in psi.parse_pat(pat))
    assert all(0 <= stream.pid < 0x2000 for stream in psi.parse_pmt(pmt).streams)


def known(*kinds: int) -> Tables:
    program = psi.parse_pmt(ts.pmt_section([(kind, 0x40 + i, b"") for i, kind in enumerate(kinds)]))
    return Tables().with_pat((ts.pat_section({1: 0x20}),), (0x20,)).with_program(0x20, program)


@pytest.mark.parametrize(
    ("kinds", "pid"),
    [((ts.AAC, ts.H264), 0x41), ((0x06, ts.AAC), 0x41), ((0x06,), 0x40), ((), None)],
    ids=["the video before the sound", "the sound before anything else", "what there is", "nothing"],
)
def test_the_reference_is(kinds: tuple[int, ...], pid: int | None) -> None:
    reference = known(*kinds).reference
    assert (reference.pid if reference else None) == pid


def test_tables_are_written_so_that_the_stream_continues_their_counters() -> None:
    tables = known(ts.H264).counted(0, 15).counted(0x20, 0)
    packets = tables.packets()
    assert [packets[at + 3] & 0x0F for at in (0, 188)] == [15, 0]
    assert [(packets[at + 1] & 0x1F) << 8 | packets[at + 2] for at in (0, 188)] == [0, 0x20]


def test_a_new_pat_forgets_what_it_no_longer_names() -> None:
    tables = known(ts.H264).counted(0x20, 3).with_pat((ts.pat_section({2: 0x30}),), (0x30,))
    assert tables.programs == {}
    assert tables.counters == {}
    assert tables.pcr_pid is None
    assert tables.reference is None
