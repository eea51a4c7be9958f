"""Every kind of upstream through the real proxy: real senders, real players, and what is left when it is closed."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.fakes.proxy_process import Proxy, real_proxy, until
from tests.fakes.senders import FFMPEG, MISSING, probe, senders

pytestmark = pytest.mark.skipif(FFMPEG is None, reason=MISSING)

PLAYED = ["aac", "h264"]
LOSS_EVERY = 40


class Leak(asyncio.DatagramProtocol):
    """Passes datagrams on, and drops one now and then."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.came = self.dropped = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.came += 1
        if self.came % LOSS_EVERY == 0:
            self.dropped += 1
        else:
            self.transport.sendto(data, ("127.0.0.1", self.to_port))


def open_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def plays(proxy: Proxy, key: str) -> None:
    assert await probe(f"{proxy.url}/ts/{key}") == PLAYED, key


async def test_datagrams_play_and_their_gaps_are_counted():
    ports = [open_udp_port() for _ in range(6)]
    group = "239.255.41.1"
    urls = {
        "udp": f"udp://127.0.0.1:{ports[0]}",
        "udp-group": f"udp://{group}:{ports[1]}",
        "rtp": f"rtp://127.0.0.1:{ports[2]}",
        "rtp-group": f"rtp://127.0.0.1@{group}:{ports[3]}?interface=127.0.0.1",
        "rtp-leak": f"rtp://127.0.0.1:{ports[4]}",
    }
    loop = asyncio.get_running_loop()
    transport, leak = await loop.create_datagram_endpoint(lambda: Leak(ports[4]), local_addr=("127.0.0.1", ports[5]))
    try:
        async with real_proxy(MULTICAST_INTERFACE="lo", STALL_SECONDS="1") as proxy, senders() as here:
            for key, url in urls.items():
                assert await proxy.ensure(url, key=key, on_demand=False) == "started"
            sender = await here.encode_to_all(
                f"[f=mpegts]udp://127.0.0.1:{ports[0]}?pkt_size=1316",
                f"[f=mpegts]udp://{group}:{ports[1]}?pkt_size=1316&localaddr=127.0.0.1",
                f"[f=rtp_mpegts]rtp://127.0.0.1:{ports[2]}",
                f"[f=rtp_mpegts]rtp://{group}:{ports[3]}?localaddr=127.0.0.1",
                f"[f=rtp_mpegts]rtp://127.0.0.1:{ports[5]}",
            )
            async with asyncio.TaskGroup() as players:
                for key in urls:
                    players.create_task(plays(proxy, key))

            async def is_counted() -> bool:
                return (await proxy.view("rtp-leak")).datagrams_lost > 2

            await until(is_counted)
            assert is_joined(group)
            sender.kill()
            await sender.wait()

            async def is_stalled() -> bool:
                return all(view.state == "stalled" for view in (await proxy.list()).sessions)

            await until(is_stalled)
            views = {view.key: view for view in (await proxy.list()).sessions}
            assert views["rtp-leak"].datagrams_lost in {leak.dropped, leak.dropped - 1}  # the last may be one of them
            assert [view.datagrams_lost for key, view in views.items() if key != "rtp-leak"] == [0, 0, 0, 0]
            async with proxy.http.get(f"{proxy.url}/metrics") as figures:
                lost = views["rtp-leak"].datagrams_lost
                assert f"penstock_proxy_datagrams_lost_total {float(lost)}" in await figures.text()
            for key in urls:
                await proxy.stop(key)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((group, ports[1]))  # free again: no other socket of a group is on it
            assert not is_joined(group)
    finally:
        transport.close()


def is_joined(group: str) -> bool:
    wished = int.from_bytes(socket.inet_aton(group), "little")
    return f"{wished:08X}" in Path("/proc/net/igmp").read_text()
