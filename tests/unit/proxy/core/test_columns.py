from hypothesis import given
from hypothesis import strategies as st

from proxy.core.columns import Columns
from tests.fakes import transport_packets as ts

PIDS = st.sampled_from([0x0000, 0x0001, 0x0100, 0x0101, 0x1010, 0x1011])
"""Their bytes are each other's, so that a search that is not aligned finds the wrong ones."""


@given(st.lists(st.tuples(PIDS, st.booleans()), max_size=40), PIDS, st.integers(0, 45))
def test_columns_find_what_looking_at_each_packet_finds(packets: list[tuple[int, bool]], pid: int, index: int) -> None:
    columns = Columns(b"".join(ts.packet(one, 0, start=start, body=b"x") for one, start in packets))
    assert columns.count == len(packets)
    assert columns.pids() == {one for one, _ in packets}
    here = [at for at, (one, _) in enumerate(packets) if one == pid]
    assert columns.of(pid, index) == [at for at in here if at >= index]
    assert columns.first(pid, index) == next((at for at in here if at >= index), -1)
    assert columns.last(pid) == (here[-1] if here else -1)
    assert columns.starts(index) == [at for at, (_, start) in enumerate(packets) if start and at >= index]
    for at, (one, start) in enumerate(packets):
        assert (columns.pid(at), columns.is_start(at)) == (one, start)
        assert columns.packet(at)[:1] == b"\x47"


def test_a_pid_is_not_found_between_two_others() -> None:
    columns_trap = ts.packet(0x0110, 0, body=b"x") + ts.packet(0x1001, 0, body=b"x")  # ... 01 10 10 01 ...
    assert 0x1010 not in Columns(columns_trap).pids()
    assert Columns(columns_trap).of(0x1010, 0) == []
    assert Columns(columns_trap).first(0x1010, 0) == -1
    odd_then_even = columns_trap + ts.packet(0x1010, 0, body=b"x")
    assert Columns(odd_then_even).first(0x1010, 0) == 2
