"""What a viewer's record says of it."""

from proxy.contract import Output
from proxy.session.viewers import RATE_SECONDS, Viewer


def viewer(protocol: Output = Output.TS) -> Viewer:
    return Viewer("v", protocol, "192.0.2.1", "VLC", since=100.0)


def test_the_rate_is_of_the_last_seconds():
    one = viewer()
    second = 100.0
    for bytes_a_second in (1000, 1000, 1000, 3000, 3000, 3000):
        for _ in range(int(RATE_SECONDS)):
            one.bytes_sent += bytes_a_second
            second += 1
        one.sample(second)
    assert one.rate_bps(second) == 3000 * 8
    assert one.rate_bps(second + RATE_SECONDS) == 3000 * 8 // 2, "it gets nothing any more"


def test_the_rate_of_a_young_viewer_is_since_it_came():
    one = viewer()
    one.bytes_sent = 8000
    assert one.rate_bps(100.01) == 64_000, "what comes at once is no rate"
    assert one.rate_bps(104.0) == 16_000
    one.sample(104.0)
    one.bytes_sent += 2000
    assert one.rate_bps(105.0) == 16_000


def test_the_lag_is_what_it_has_not_had():
    ts, hls = viewer(), viewer(Output.HLS)
    assert (ts.lag_bytes(500), hls.lag_bytes(500)) == (500, 0)
    ts.position = hls.position = 400
    assert (ts.lag_bytes(500), hls.lag_bytes(500)) == (100, 100)
    assert ts.lag_bytes(300) == 0


def test_it_is_shown_as_the_contract_says():
    one = viewer()
    one.bytes_sent, one.position, one.moves = 1000, 90, 2
    shown = one.view("s-1", "cam", head=100, now=102.0)
    assert (shown.stream_id, shown.key, shown.viewer_id, shown.address) == ("s-1", "cam", "v", "192.0.2.1")
    assert (shown.since_seconds, shown.bytes_sent, shown.lag_bytes, shown.rate_bps, shown.moves) == (
        2,
        1000,
        10,
        4000,
        2,
    )
