"""Every kind of upstream through the real proxy: real senders, real players, and what is left when it is closed."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import Process
from pathlib import Path

import psutil
import pytest

from proxy.contract import SessionView
from tests.fakes.proxy_process import Proxy, real_proxy, until, unused_port
from tests.fakes.rtmp import rtmp_server
from tests.fakes.rtsp import PASSWORD, rtsp_server
from tests.fakes.senders import FFMPEG, MISSING, Senders, probe, senders

pytestmark = pytest.mark.skipif(FFMPEG is None, reason=MISSING)

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
    assert "h264" in await probe(f"{proxy.url}/ts/{key}"), key


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


SECRETS = ("hunter2", PASSWORD)


def children(proxy: Proxy) -> list[psutil.Process]:
    return psutil.Process(proxy.pid).children(recursive=True)


async def none_left(proxy: Proxy) -> None:
    async def is_alone() -> bool:
        return not children(proxy)

    await until(is_alone)


async def send_to_be_pulled(here: Senders, folder: Path, ports: list[int]) -> dict[str, str]:
    """Start servers of two kinds, make a file, and return where the streams are."""
    clip = folder / "clip.mp4"
    await (await here.encode("-y", str(clip), seconds=3)).wait()
    await here.run("-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "flv", "-listen", "1",
                   f"rtmp://127.0.0.1:{ports[0]}/app/key")  # fmt: skip
    await here.run("-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "mpegts",
                   f"srt://127.0.0.1:{ports[1]}?mode=listener&passphrase=hunter2hunter2")  # fmt: skip
    return {
        "rtmp": f"rtmp://me:hunter2@127.0.0.1:{ports[0]}/app/key",
        "srt": f"srt://127.0.0.1:{ports[1]}?passphrase=hunter2hunter2",
        "file": "file:clip.mp4",
    }


async def test_what_ffmpeg_reads_plays_and_no_child_is_left(tmp_path: Path):
    async with (
        rtsp_server() as camera,
        senders() as here,
        real_proxy(FILES_DIR=str(tmp_path), BACKOFF_MIN_SECONDS="0.1") as proxy,
    ):
        urls = await send_to_be_pulled(here, tmp_path, [unused_port(), open_udp_port()])
        urls["rtsp"] = camera.url()
        for key, url in urls.items():
            assert await proxy.ensure(url, key=key, on_eof="end" if key == "file" else "reconnect") == "started"
        async with asyncio.TaskGroup() as players:
            for key in urls:
                players.create_task(plays(proxy, key))
            await until(lambda: has_children(proxy, len(urls)))
            shown = [" ".join(child.cmdline()) for child in children(proxy)]
            assert not [line for line in shown for secret in SECRETS if secret in line]
        await until(lambda: is_state(proxy, "file", "finished"))
        assert (await proxy.view("file")).finished_reason == "upstream_ended"

        async with proxy.http.get(f"{proxy.url}/ts/rtsp") as answer:
            assert await answer.content.readexactly(188)
            before = await proxy.view("rtsp")
            for child in children(proxy):
                child.kill()
            await until(lambda: flows_again(proxy, before))
            assert await answer.content.readexactly(188 * 100)
            assert not answer.content.at_eof()
        for key in urls:
            await proxy.stop(key)
        await none_left(proxy)
    assert not [secret for secret in SECRETS if secret.encode() in proxy.log]


async def has_children(proxy: Proxy, count: int) -> bool:
    return sum(child.name() == "ffmpeg" for child in children(proxy)) == count


async def is_state(proxy: Proxy, key: str, state: str) -> bool:
    return (await proxy.view(key)).state == state


async def flows_again(proxy: Proxy, before: SessionView) -> bool:
    now = await proxy.view(before.key)
    return now.connects > before.connects and now.bytes_in > before.bytes_in and now.state == "flowing"


async def test_a_viewer_is_told_at_once_what_ffmpeg_says_and_an_end_is_an_end():
    async with (
        rtsp_server() as camera,
        rtmp_server() as studio,
        real_proxy(START_TIMEOUT_SECONDS="30", BACKOFF_MIN_SECONDS="0.1") as proxy,
    ):
        await proxy.ensure(camera.url("hunter2"))
        async with asyncio.timeout(10), proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            assert answer.status == 502
            problem = await answer.text()
        assert "upstream answered 401 Unauthorized" in problem
        assert "401 Unauthorized" in (await proxy.view()).detail
        assert "hunter2" not in problem

        await proxy.ensure(studio.url(), key="studio", on_demand=False, on_eof="end")
        await until(lambda: is_state(proxy, "studio", "finished"))
        view = await proxy.view("studio")
        assert view.finished_reason == "upstream_ended"
        assert (view.connects, view.delivered) == (1, True)
    assert b"hunter2" not in proxy.log


async def test_no_child_outlives_a_proxy_that_is_killed():
    async with rtsp_server() as camera, real_proxy(exit_code=-9) as proxy:
        await proxy.ensure(camera.url(), on_demand=False)
        await until(lambda: is_state(proxy, "cam", "flowing"))
        orphans = children(proxy)
        assert orphans
        os.kill(proxy.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            await camera.left.wait()
        assert psutil.wait_procs(orphans, timeout=5)[1] == []


def publishing(proxy: Proxy, key: str, user: str = "") -> str:
    return f"{proxy.url.replace('//', f'//{user}')}/publish/{key}"


async def test_what_is_pushed_plays_as_long_as_somebody_pushes():
    async with senders() as here, real_proxy(PUBLISH_TOKEN="hunter2", BACKOFF_MIN_SECONDS="0.1") as proxy:
        assert await proxy.ensure("publish:") == "started"
        first = await here.encode("-f", "mpegts", "-method", "PUT", publishing(proxy, "cam", "me:hunter2@"))
        await until(lambda: is_state(proxy, "cam", "flowing"))  # without any viewer
        async with proxy.http.get(f"{proxy.url}/ts/cam") as answer:
            await plays(proxy, "cam")
            async with proxy.http.put(publishing(proxy, "cam"), headers={"Authorization": "Bearer hunter2"}) as second:
                assert second.status == 409
                assert second.content_type == "application/problem+json"
            before = await proxy.view()
            first.kill()
            await until(lambda: is_not_flowing(proxy))
            await here.encode("-f", "mpegts", "-headers", "Authorization: Bearer hunter2\r\n", publishing(proxy, "cam"))
            await until(lambda: flows_again(proxy, before))
            assert await answer.content.readexactly(188 * 2000)
            assert not answer.content.at_eof()
        await proxy.stop()
        await until(lambda: is_over(here.started[-1]))

        assert await proxy.ensure("publish:", key="ends", on_eof="end") == "started"
        brief = await here.encode("-f", "mpegts", f"{publishing(proxy, 'ends')}?token=hunter2", seconds=2)
        await until(lambda: is_state(proxy, "ends", "finished"))
        assert (await proxy.view("ends")).finished_reason == "upstream_ended"
        assert await brief.wait() == 0
    assert b"hunter2" not in proxy.log


async def is_not_flowing(proxy: Proxy) -> bool:
    return (await proxy.view()).state in {"connecting", "waiting"}


async def is_over(process: Process) -> bool:
    return process.returncode is not None


def is_joined(group: str) -> bool:
    wished = int.from_bytes(socket.inet_aton(group), "little")
    return f"{wished:08X}" in Path("/proc/net/igmp").read_text()
