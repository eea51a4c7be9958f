"""Interfaces are found by name and by either kind of address."""

import socket

import pytest

from proxy.upstream.datagrams import interfaces


@pytest.mark.parametrize("text", ["lo", "127.0.0.1"])
def test_loopback_is_found(text):
    assert interfaces.index_of(text) == socket.if_nametoindex("lo")


@pytest.mark.skipif(not interfaces.IPV6_TABLE.exists(), reason="no IPv6 here")
def test_an_ipv6_address_is_found():
    assert interfaces.index_of("::1") == socket.if_nametoindex("lo")


@pytest.mark.parametrize("text", ["nothing9", "203.0.113.250", "2001:db8::dead"])
def test_what_is_not_there_is_an_error(text):
    with pytest.raises(OSError, match="no "):
        interfaces.index_of(text)


def test_a_kernel_without_ipv6_has_no_such_address(monkeypatch, tmp_path):
    monkeypatch.setattr(interfaces, "IPV6_TABLE", tmp_path / "nothing")
    with pytest.raises(OSError, match="no interface"):
        interfaces.index_of("::1")
