"""Datagrams over real sockets on loopback: unicast, groups, sources, and the membership that ends with the reader."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from proxy.contract import SessionSpec, Upstream
from proxy.errors import SpecRefusedError, UpstreamForbiddenError, UpstreamUnreachableError
from proxy.upstream import kinds
from proxy.upstream.datagrams import DatagramPolicy, reader
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.items import Discontinuity, Losses, Reader
from proxy.upstream.kinds import LocalPolicy
from proxy.upstream.resolver import Resolver

TS = b"\x47" + bytes(187)
LOOPBACK = socket.if_nametoindex("lo")
LOCAL = LocalPolicy(datagram=DatagramPolicy(interface="lo"))


def wrapped(number: int, payload: bytes = TS) -> bytes:
    return b"\x80\x21" + number.to_bytes(2, "big") + bytes(8) + payload


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def sender(family: socket.AddressFamily = socket.AF_INET, source: str = "") -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), LOOPBACK))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, LOOPBACK)
    if source:
        sock.bind((source, 0))
    return sock


@asynccontextmanager
async def listening(url: str, local: LocalPolicy = LOCAL) -> AsyncIterator[Reader]:
    """Begin to read, so that the socket is open when this returns."""
    async with (
        asyncio.TaskGroup() as group,
        aclosing(kinds.opener(HttpPolicy(), Resolver(), local)(Upstream(url=url))) as items,
    ):
        first = group.create_task(anext(items))
        await asyncio.sleep(0)

        async def rest() -> Reader:
            yield await first
            async for item in items:
                yield item

        try:
            async with asyncio.timeout(5), aclosing(rest()) as all_items:
                yield all_items
        finally:
            first.cancel()
            await asyncio.wait([first])


async def media(items: Reader, size: int) -> tuple[bytes, list[object]]:
    """Read until so many bytes of media have come; return them, and what else came."""
    got, others = b"", []
    async for item in items:
        if isinstance(item, bytes):
            got += item
        else:
            others.append(item)
        if len(got) >= size:
            break
    return got, others


@pytest.mark.parametrize(
    ("host", "target"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="an address"),
        pytest.param("@", "127.0.0.1", id="every address"),
        pytest.param("[::1]", "::1", id="IPv6"),
        pytest.param("239.255.7.1", "239.255.7.1", id="a group"),
    ],
)
async def test_what_is_sent_there_is_read(host, target):
    port = free_port()
    async with listening(f"udp://{host}:{port}") as items:
        with sender(socket.AF_INET6 if ":" in target else socket.AF_INET) as sock:
            sock.sendto(TS * 7, (target, port))
            assert await media(items, 7 * 188) == (TS * 7, [])


async def test_a_name_is_resolved(monkeypatch):
    port = free_port()
    found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_DGRAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found)
    async with listening(f"udp://encoder.lan:{port}") as items, asyncio.TaskGroup() as group:
        reading = group.create_task(media(items, 188))
        with sender() as sock:
            while not reading.done():
                sock.sendto(TS, ("127.0.0.1", port))
                await asyncio.sleep(0.005)
    assert reading.result()[0].startswith(TS)


def ipv6_interface() -> int:
    """Return an interface on which IPv6 groups can be sent to, and stay on this machine."""
    for index, _ in socket.if_nameindex():
        with suppress(OSError), sender(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)
            sock.sendto(b"", ("ff15::7:9", 9))
            return index
    pytest.skip("no interface has a route for IPv6 groups")


@pytest.mark.parametrize("group", ["ff15::7:1", "ff02::7:1"])
async def test_an_ipv6_group_is_heard(group):
    port, index = free_port(), ipv6_interface()
    async with listening(f"udp://[{group}]:{port}?interface={socket.if_indextoname(index)}") as items:
        with sender(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)
            sock.sendto(TS, (group, port))
            assert await media(items, 188) == (TS, [])


async def test_rtp_is_unwrapped_ordered_and_its_gaps_are_told():
    port = free_port()
    async with listening(f"rtp://127.0.0.1:{port}") as items:
        with sender() as sock:
            for number in (65534, 0, 65535, 3, 4):  # 65535 is late, 1 and 2 never come
                sock.sendto(wrapped(number), ("127.0.0.1", port))
            got, others = await media(items, 5 * 188)
            told = sum((Counter(lost=item.lost, reordered=item.reordered) for item in others), Counter())
            while told["lost"] < 2:
                item = await anext(items)
                told += Counter(lost=item.lost, reordered=item.reordered)
    assert got == TS * 5
    assert told == Counter(lost=2, reordered=1)


async def test_a_sequence_that_begins_anew_is_a_discontinuity():
    port = free_port()
    async with listening(f"udp://127.0.0.1:{port}") as items:
        with sender() as sock:
            for number in (1, 2, 30_000, 30_001):
                sock.sendto(wrapped(number), ("127.0.0.1", port))
            assert await media(items, 3 * 188) == (TS * 3, [Discontinuity()])


async def test_what_nobody_reads_in_time_is_counted_by_the_kernel():
    port = free_port()
    small = LocalPolicy(datagram=DatagramPolicy(buffer_bytes=4096))
    async with listening(f"udp://127.0.0.1:{port}", small) as items:
        with sender() as sock:
            for _ in range(200):
                sock.sendto(TS * 7, ("127.0.0.1", port))
            got, others = await media(items, 188)
            while not others:
                others = [await anext(items)]
    assert len(got) < 200 * 7 * 188
    assert isinstance(others[0], Losses)
    assert others[0].lost == 200 - len(got) // (7 * 188)


async def test_only_the_named_source_of_a_group_is_heard():
    port = free_port()
    async with listening(f"udp://127.0.0.2@232.7.7.7:{port}?interface=lo") as items:
        with sender(source="127.0.0.3") as other, sender(source="127.0.0.2") as wished:
            other.sendto(b"\x47" + b"x" * 187, ("232.7.7.7", port))
            wished.sendto(TS, ("232.7.7.7", port))
            assert await media(items, 188) == (TS, [])


async def test_only_the_named_source_of_unicast_is_heard():
    port = free_port()
    async with listening(f"udp://127.0.0.2@127.0.0.1:{port}?interface=127.0.0.1") as items:
        with sender(source="127.0.0.3") as other, sender(source="127.0.0.2") as wished:
            other.sendto(b"\x47" + b"x" * 187, ("127.0.0.1", port))
            wished.sendto(TS, ("127.0.0.1", port))
            assert await media(items, 188) == (TS, [])


async def test_two_readers_of_one_group_both_hear_it():
    port = free_port()
    url = f"udp://239.255.7.2:{port}"
    async with listening(url) as one, listening(url) as two:
        with sender() as sock:
            sock.sendto(TS, ("239.255.7.2", port))
            assert (await media(one, 188))[0] == (await media(two, 188))[0] == TS


def joined(group: str) -> bool:
    wished = f"{int.from_bytes(socket.inet_aton(group)[::-1], 'big'):08X}"
    return wished in Path("/proc/net/igmp").read_text()


async def test_the_group_is_left_the_moment_the_reader_is_closed():
    port = free_port()
    async with listening(f"udp://239.255.7.3:{port}"):
        assert joined("239.255.7.3")
    assert not joined("239.255.7.3")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("239.255.7.3", port))


async def test_a_port_that_is_taken_is_named_and_not_stolen():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamUnreachableError, match="Address already in use"):
            await anext(read(f"udp://127.0.0.1:{sock.getsockname()[1]}"))


def read(url: str) -> Reader:
    return kinds.opener(HttpPolicy(), Resolver(), LOCAL)(Upstream(url=url))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("udp://203.0.113.9:5000", "Cannot assign"),
        ("udp://239.255.7.4:5000?interface=nothing9", "no interface with this name"),
        ("udp://239.255.7.4:5000?interface=203.0.113.9", "no interface has this address"),
        ("udp://nothing-here.invalid:5000", "name not found"),
    ],
)
async def test_where_nothing_can_be_heard_the_reason_is_told(url, words):
    with pytest.raises(UpstreamUnreachableError, match=words):
        await anext(read(url))


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("udp://169.254.1.1:5000", {}, "link-local"),
        ("rtp://239.0.0.1", {}, "port"),
        ("udp://239.0.0.1:5000", {"A": "b"}, "request headers"),
    ],
)
def test_what_may_not_be_heard_is_refused_beforehand(url, headers, words):
    spec = SessionSpec(key="cam", upstreams=(Upstream(url=url, headers=headers),))
    with pytest.raises(SpecRefusedError, match=words):
        kinds.check(spec, HttpPolicy())


async def test_a_name_that_leads_to_a_forbidden_address_is_refused(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(socket.AF_INET, 1, 6, "", ("169.254.1.1", 0))])
    with pytest.raises(UpstreamForbiddenError):
        await anext(read("udp://cam.lan:5000"))


def test_without_privileges_the_buffer_is_asked_for_politely(monkeypatch):
    monkeypatch.setattr(reader, "SO_RCVBUFFORCE", -1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="not available"):
        reader._enlarge(sock, 100_000)
