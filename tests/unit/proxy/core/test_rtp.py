"""RTP is unwrapped as RFC 3550 says, and put in order within a small window; nothing else is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import rtp
from proxy.core.rtp import DROPOUT_MAX, HELD_MAX, HOLD_SECONDS, NUMBERS, Packet, Sequencer, parse


def packet(number: int, payload: bytes, *, source: int = 7, csrc: int = 0, extension: bytes | None = None,
           padding: int = 0, kind: int = 33) -> bytes:  # fmt: skip
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension is not None else 0) | csrc
    head = bytes((first, kind)) + number.to_bytes(2, "big") + bytes(4) + source.to_bytes(4, "big") + bytes(4 * csrc)
    if extension is not None:
        head += b"\xbe\xde" + (len(extension) // 4).to_bytes(2, "big") + extension
    return head + payload + (bytes(padding - 1) + bytes((padding,)) if padding else b"")


@pytest.mark.parametrize(
    "wrapping",
    [
        pytest.param({}, id="plain"),
        pytest.param({"csrc": 3}, id="contributing sources"),
        pytest.param({"extension": b""}, id="an empty extension"),
        pytest.param({"extension": bytes(8)}, id="an extension"),
        pytest.param({"padding": 4}, id="padding"),
        pytest.param({"csrc": 15, "extension": bytes(40), "padding": 255, "kind": 0xA1}, id="all of it"),
    ],
)
def test_the_payload_is_found(wrapping):
    assert parse(packet(65535, b"\x47media", **wrapping)) == Packet(65535, 7, b"\x47media")


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(packet(1, b"")[:11], id="half a header"),
        pytest.param(b"\x47" + bytes(187), id="a packet of MPEG-TS"),
        pytest.param(packet(1, b"x", kind=200), id="a control packet"),
        pytest.param(packet(1, b"", csrc=2)[:19], id="half a list of sources"),
        pytest.param(packet(1, b"", extension=bytes(8))[:18], id="half an extension's head"),
        pytest.param(packet(1, b"", extension=bytes(8))[:-1], id="half an extension"),
        pytest.param(packet(1, b"abc", padding=1)[:-1] + b"\x00", id="padding of no bytes"),
        pytest.param(packet(1, b"abc", padding=1)[:-1] + b"\x05", id="more padding than payload"),
    ],
)
def test_what_is_no_packet_is_nothing(datagram):
    assert parse(datagram) is None


@given(st.binary(max_size=64))
def test_no_datagram_is_too_strange(datagram):
    found = parse(datagram)
    assert found is None or found.payload in datagram


def passed(sequencer: Sequencer, *numbers: int, now: float = 0.0) -> list[int]:
    out: list[bytes] = []
    for number in numbers:
        out += sequencer.push(number % NUMBERS, str(number % NUMBERS).encode(), now)
    return [int(payload) for payload in out]


def counts(sequencer: Sequencer) -> tuple[int, int, int, int]:
    return sequencer.lost, sequencer.reordered, sequencer.late, sequencer.restarts


def test_what_comes_in_order_is_passed_on_at_once_past_the_highest_number():
    sequencer = Sequencer()
    assert passed(sequencer, 65534, 65535, 65536, 65537) == [65534, 65535, 0, 1]
    assert counts(sequencer) == (0, 0, 0, 0)
    assert sequencer.due is None


def test_neighbours_that_overtook_each_other_are_put_in_order():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 3, 4, 2, 5) == [1, 2, 3, 4, 5]
    assert counts(sequencer) == (0, 1, 0, 0)


def test_a_missing_packet_is_waited_for_and_then_given_up():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 4, now=10.0) == [1]
    assert sequencer.due == 10.0 + HOLD_SECONDS
    assert sequencer.flush(10.0 + HOLD_SECONDS / 2) == []
    assert sequencer.flush(10.0 + HOLD_SECONDS) == [b"4"]
    assert counts(sequencer) == (2, 0, 0, 0)
    assert sequencer.due is None


def test_two_gaps_are_given_up_one_after_the_other():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 3, 5) == [1]
    assert sequencer.flush(HOLD_SECONDS) == [b"3"]
    assert sequencer.due == 2 * HOLD_SECONDS
    assert sequencer.flush(2 * HOLD_SECONDS) == [b"5"]
    assert sequencer.lost == 2


def test_the_window_is_bounded():
    sequencer = Sequencer()
    assert passed(sequencer, 0, *range(2, HELD_MAX + 3)) == [0, *range(2, HELD_MAX + 3)]
    assert counts(sequencer) == (1, 0, 0, 0)


def test_what_comes_twice_or_too_late_is_thrown_away():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 2, 2, 1, 4, 4) == [1, 2]
    assert counts(sequencer) == (0, 0, 3, 0)


@pytest.mark.parametrize("jump", [DROPOUT_MAX + 2, NUMBERS // 2, NUMBERS - 200])
def test_a_sequence_that_begins_anew_is_taken_up_where_two_agree(jump):
    sequencer = Sequencer()
    begin = (100 + jump) % NUMBERS
    assert passed(sequencer, 99, 100, 102, begin, begin + 1, begin + 2) == [99, 100, begin + 1, begin + 2]
    assert counts(sequencer) == (0, 0, 1, 1)


def test_one_stray_packet_begins_nothing():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 30_000, 2, 30_001, 3) == [1, 2, 3]
    assert counts(sequencer) == (0, 0, 2, 0)


def test_a_long_loss_is_a_loss():
    sequencer = Sequencer()
    assert passed(sequencer, 1, 2 + DROPOUT_MAX) == [1]
    assert sequencer.flush(HOLD_SECONDS) == [str(2 + DROPOUT_MAX).encode()]
    assert sequencer.lost == DROPOUT_MAX


@given(
    start=st.integers(0, NUMBERS - 1),
    kept=st.lists(st.booleans(), min_size=1, max_size=300),
    delays=st.lists(st.integers(0, 20), min_size=300, max_size=300),
)
def test_whatever_is_dropped_and_shuffled_a_little_comes_out_in_order_and_all_is_accounted_for(start, kept, delays):
    """Each packet is delayed by up to 20 places: within the window, so nothing that came may be thrown away."""
    sent = [at for at, is_kept in enumerate(kept) if is_kept or at == 0]
    arriving = sorted(sent, key=lambda at: (0 if at == 0 else at + delays[at], at))
    sequencer = Sequencer()
    out = [payload for at in arriving for payload in sequencer.push((start + at) % NUMBERS, b"%d" % at, 0.0)]
    while sequencer.due is not None:
        out += sequencer.flush(sequencer.due)
    assert [int(payload) for payload in out] == sent
    assert sequencer.lost == sent[-1] + 1 - len(sent)
    assert (sequencer.late, sequencer.restarts) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, NUMBERS - 1), st.floats(0, 1)), max_size=400))
def test_no_order_of_numbers_makes_it_grow_or_fail(arrivals):
    sequencer, now, count = Sequencer(), 0.0, 0
    for number, pause in arrivals:
        now += pause
        count += len(sequencer.push(number, b"x", now)) + len(sequencer.flush(now))
        assert len(sequencer._held) <= rtp.HELD_MAX
    assert count <= len(arrivals)
