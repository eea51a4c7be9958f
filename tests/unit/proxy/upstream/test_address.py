import pytest

from proxy.errors import UpstreamForbiddenError
from proxy.upstream import address


@pytest.mark.parametrize(
    "ip",
    ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.169.254",
     "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"],
)  # fmt: skip
def test_link_local_and_metadata_addresses_are_forbidden(ip: str):
    assert address.is_forbidden(ip)


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "192.168.1.20", "8.8.8.8", "::1", "fd00::1", "2001:db8::1"])
def test_other_addresses_are_not(ip: str):
    assert not address.is_forbidden(ip)


def test_a_url_is_taken_apart_or_refused_in_words():
    parts, port = address.split("rtsp://user@[2001:db8::1]:8554/live")
    assert (parts.scheme, parts.hostname, port) == ("rtsp", "2001:db8::1", 8554)
    assert address.split("srt://cam/")[1] is None
    for url, said in {
        "udp://a b:1": "space",
        "udp://cam:99999": "cannot be read",
        "udp://[::1:1": "cannot be read",
    }.items():
        with pytest.raises(UpstreamForbiddenError, match=said):
            address.split(url)


def test_names_are_left_to_the_resolver():
    address.check_literal("cam.lan")
    with pytest.raises(UpstreamForbiddenError):
        address.check_literal("169.254.1.1")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("cam", True),
        ("cam_1.lan.", True),
        ("10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("", False),
        ("a b", False),
        ("-a", False),
        ("a/b", False),
    ],
)
def test_a_host_is_an_address_or_may_be_a_name(text: str, is_one: bool):
    assert address.is_host(text) is is_one
