"""Datagrams become runs of media of one sender, whatever is mixed in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.datagrams import FOREIGN_MAX, Intake, Run
from proxy.core.rtp import HOLD_SECONDS

TS = b"\x47" + bytes(187)


def wrapped(number: int, payload: bytes = TS, source: int = 1) -> bytes:
    return b"\x80\x21" + number.to_bytes(2, "big") + bytes(4) + source.to_bytes(4, "big") + payload


def taken(intake: Intake, *datagrams: bytes, host: str = "h", port: int = 1, now: float = 0.0) -> list[Run]:
    for datagram in datagrams:
        intake.take(datagram, host, port, now)
    return intake.drain(now)


def test_plain_datagrams_are_joined_as_they_come():
    intake = Intake()
    assert taken(intake, TS * 7, TS, b"\x80 cut anyhow") == [Run(TS * 8 + b"\x80 cut anyhow")]
    assert taken(intake) == []
    assert not intake.is_rtp


def test_rtp_is_recognised_where_only_udp_was_announced():
    intake = Intake()
    assert taken(intake, wrapped(1), wrapped(2)) == [Run(TS * 2)]
    assert intake.is_rtp


def test_a_control_packet_first_does_not_decide_the_form():
    intake = Intake()
    assert taken(intake, b"\x80\xc8" + bytes(26), wrapped(1))[-1].media.endswith(TS)
    assert intake.is_rtp


def test_where_rtp_was_asked_for_the_rest_is_ignored_and_counted():
    intake = Intake(rtp_only=True)
    assert taken(intake, TS, wrapped(1), b"?") == [Run(TS)]
    assert intake.ignored == 2


def test_numbers_that_are_missing_are_counted_and_the_rest_goes_on():
    intake = Intake(rtp_only=True)
    assert taken(intake, wrapped(1), wrapped(4)) == [Run(TS)]
    assert intake.due == HOLD_SECONDS
    assert taken(intake, wrapped(5), now=HOLD_SECONDS) == [Run(TS * 2)]
    assert (intake.lost, intake.reordered) == (2, 0)


@pytest.mark.parametrize("is_rtp", [False, True], ids=["plain", "rtp"])
def test_a_second_sender_is_kept_out_until_the_first_is_gone(is_rtp):
    def sent(number: int, media: bytes, source: int) -> bytes:
        return wrapped(number, media, source) if is_rtp else media

    first, second = TS, b"\x47" + b"2" * 187
    intake = Intake()
    for number in range(FOREIGN_MAX * 2):
        intake.take(sent(number, first, 1), "h", 1, 0.0)
        intake.take(sent(number, second, 2), "h", 2, 0.0)
    assert intake.drain(0.0) == [Run(first * FOREIGN_MAX * 2)]
    assert intake.ignored == FOREIGN_MAX * 2
    for number in range(FOREIGN_MAX):
        intake.take(sent(number, second, 2), "h", 2, 0.0)
    assert intake.drain(0.0) == [Run(second * 2, broken=True)]  # one of them had come before
    assert intake.drain(0.0) == []


def test_a_break_in_the_middle_parts_what_came_together():
    intake = Intake()
    before, after = TS, b"\x47" + b"2" * 187
    numbers = (30_000, 30_001, 30_002)
    runs = taken(intake, wrapped(1, before), *(wrapped(number, after) for number in numbers))
    assert runs == [Run(before), Run(after * 2, broken=True)]


def test_only_the_source_that_was_asked_for_is_heard():
    intake = Intake(source="192.0.2.1")
    assert taken(intake, TS, host="192.0.2.2") == []
    assert taken(intake, TS, host="192.0.2.1") == [Run(TS)]
    assert intake.ignored == 1


def test_what_was_lost_of_a_sender_that_went_stays_counted():
    intake = Intake()
    taken(intake, wrapped(1), wrapped(3), now=0.0)
    taken(intake, now=HOLD_SECONDS)
    taken(intake, *(wrapped(number, source=2) for number in range(FOREIGN_MAX + 1)), wrapped(FOREIGN_MAX + 3, source=2))
    taken(intake, now=HOLD_SECONDS)
    assert intake.lost == 3


@given(
    st.booleans(),
    st.lists(st.tuples(st.binary(max_size=40) | st.integers(0, 9).map(wrapped), st.sampled_from("ab")), max_size=200),
)
def test_nothing_that_comes_makes_it_fail_or_invent_media(rtp_only, arrivals):
    intake = Intake(rtp_only=rtp_only)
    total = 0
    for now, (datagram, host) in enumerate(arrivals):
        intake.take(datagram, host, 1, float(now))
        total += sum(len(run.media) for run in intake.drain(float(now)))
    assert total <= sum(len(datagram) for datagram, _ in arrivals)
