"""What a udp or rtp URL means, and what is refused about it with which words."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamForbiddenError
from proxy.upstream.datagrams.endpoint import Endpoint, parse


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("udp://239.0.0.1:5000", Endpoint("239.0.0.1", 5000, is_rtp=False)),
        ("RTP://239.0.0.1:5004/", Endpoint("239.0.0.1", 5004, is_rtp=True)),
        ("udp://@239.0.0.1:5000", Endpoint("239.0.0.1", 5000, is_rtp=False)),
        ("udp://@:5000", Endpoint("", 5000, is_rtp=False)),
        ("udp://:5000", Endpoint("", 5000, is_rtp=False)),
        ("udp://10.0.0.9@232.1.1.1:5000", Endpoint("232.1.1.1", 5000, is_rtp=False, source="10.0.0.9")),
        ("udp://[ff15::1]:5000", Endpoint("ff15::1", 5000, is_rtp=False)),
        (
            "rtp://[2001:DB8::1]@[ff35::1]:5000?interface=eth0.7",
            Endpoint("ff35::1", 5000, is_rtp=True, source="2001:db8::1", interface="eth0.7"),
        ),
        (
            "udp://232.1.1.1:5000?interface=192.0.2.7&source=10.0.0.9",
            Endpoint("232.1.1.1", 5000, is_rtp=False, source="10.0.0.9", interface="192.0.2.7"),
        ),
        ("udp://encoder.lan:5000", Endpoint("encoder.lan", 5000, is_rtp=False)),
    ],
)
def test_it_says_where_to_listen(url, meant):
    assert parse(url) == meant


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("udp://239.0.0.1", "needs a port"),
        ("udp://239.0.0.1:0", "needs a port"),
        ("udp://239.0.0.1:66000", "cannot be read"),
        ("udp://[239.0.0.1:5000", "cannot be read"),
        ("udp://239.0.0.1:5000/live", "no path"),
        ("udp://239.0.0.1:5000#x", "no path"),
        ("udp://239.0.0.1:5000?pkt_size=1316", "interface and source only"),
        ("udp://239.0.0.1:5000?interface=", "interface"),
        ("udp://239.0.0.1:5000?interface=eth0%2F..", "interface"),
        ("udp://me@239.0.0.1:5000", "source"),
        ("udp://239.0.0.1:5000?source=me", "source"),
        ("udp://2001:db8::1@232.0.0.1:5000", "different IP versions"),
        ("udp://a_/b:5000", "needs a port"),
        ("udp://a,b:5000", "neither an address nor a name"),
        ("udp://239.0.0.1:5000\n", "control character"),
    ],
)
def test_nonsense_is_refused_in_words(url, words):
    with pytest.raises(UpstreamForbiddenError, match=words):
        parse(url)


@pytest.mark.parametrize(
    ("host", "label"), [("", "*:5000"), ("239.0.0.1", "239.0.0.1:5000"), ("ff15::1", "[ff15::1]:5000")]
)
def test_its_label_is_for_people(host, label):
    assert Endpoint(host, 5000, is_rtp=False).label == label


@given(st.text(max_size=60))
def test_no_text_is_too_strange(rest):
    with suppress(UpstreamForbiddenError):
        assert parse("udp://" + rest).port
