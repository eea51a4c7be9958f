"""A stream announced on MQTT plays, for many viewers, from one upstream connection."""

import asyncio

import pytest

from tests.fakes import machine as machines
from tests.fakes.machine import until

SECONDS = 30


async def decode(url: str, seconds: float) -> tuple[int, str]:
    """Play a URL with ffmpeg; return its exit code and all that it complains about."""
    player = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-v", "error", "-xerror", "-t", str(seconds), "-i", url, "-f", "null", "-"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(seconds * 3 + 30):
        _, complaints = await player.communicate()
    assert player.returncode is not None
    return player.returncode, complaints.decode()


async def probe(url: str) -> str:
    prober = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        shown, complaints = await prober.communicate()
    assert not complaints, complaints
    return shown.decode()


async def watch(machine, key: str, seconds: float) -> int:
    """Read a TS stream for a while; return how many bytes came, all of them in whole packets."""
    received = bytearray()
    async with machine.http.get(machine.ts(key)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "video/mp2t"
        try:
            async with asyncio.timeout(seconds):
                async for chunk in response.content.iter_any():
                    received += chunk
        except TimeoutError:
            pass
    packets = len(received) // 188
    assert packets > 100
    assert all(received[at * 188] == 0x47 for at in range(packets))
    return len(received)


async def play_together(machine, upstream) -> None:
    await machine.publish("streams/cam-7/started", {"upstreams": [upstream.url("cam-7")]})
    await until(lambda: _is(machine, "cam-7", "LIVE"))
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(watch(machine, "cam-7", SECONDS)) for _ in range(17)]
        ts = group.create_task(decode(machine.ts("cam-7"), SECONDS))
        hls = group.create_task(decode(machine.hls("cam-7"), SECONDS))
        probed = group.create_task(probe(machine.ts("cam-7")))
    assert probed.result().split() == ["h264,320", "aac"] * (len(probed.result().split()) // 2)
    assert ts.result() == (0, "")
    assert hls.result() == (0, "")
    amounts = [task.result() for task in crowd]
    assert min(amounts) > 0.8 * max(amounts)
    assert upstream.opened["cam-7"] == 1


async def _is(machine, key: str, state: str) -> bool:
    return await machine.state(key) == state


@pytest.mark.slow
async def test_twenty_viewers_play_half_a_minute_from_one_upstream_connection(station, upstream):
    await play_together(station, upstream)


@pytest.mark.slow
async def test_the_same_through_the_embedded_broker(tmp_path, upstream):
    async with machines.machine(tmp_path) as machine:
        await play_together(machine, upstream)
