"""Jumps, told on every PID."""

from proxy.core import splice
from proxy.core.mpegts import NULL_PACKET
from proxy.core.splice import BREAK_SECONDS, Break
from tests.fakes import transport_packets as ts


def test_a_jump_is_announced_once_for_every_pid() -> None:
    following = ts.packet(0x20, 5, body=b"x") + ts.packet(0x21, 0) + NULL_PACKET + ts.packet(0x20, 6, body=b"x")
    announced, known = splice.announce(following)
    assert known == {0x20, 0x21}
    heads = [announced[at : at + 6] for at in range(0, len(announced), 188)]
    assert heads == [bytes((0x47, 0, 0x20, 0x24, 183, 0x80)), bytes((0x47, 0, 0x21, 0x20, 183, 0x80))]
    assert splice.announce(following, known) == (b"", known)
    more, _ = splice.announce(ts.packet(0x22, 0, body=b"x"), known)
    assert more[:4] == bytes((0x47, 0, 0x22, 0x2F))


def test_a_jump_is_announced_on_streams_that_are_silent_behind_it() -> None:
    preceding = ts.packet(0x20, 3, body=b"x") + ts.packet(0x23, 6, body=b"x") + ts.packet(0x23, 7, body=b"x")
    announced = splice.announce_silent(preceding, frozenset({0x20}))
    assert [announced[at : at + 6] for at in range(0, len(announced), 188)] == [bytes((0x47, 0, 0x23, 0x27, 183, 0x80))]


def test_after_a_break_pids_are_announced_as_they_come_for_a_while() -> None:
    told = Break()
    first, second = ts.packet(0x20, 5, body=b"x"), ts.packet(0x21, 5, body=b"x")
    assert told.announce(first, 100.0) == splice.announce(first)[0] + first
    assert told.announce(first + second, 101.0) == splice.announce(second)[0] + first + second
    assert not told.is_over
    assert told.announce(first, 100.0 + BREAK_SECONDS) == first
    assert told.is_over
