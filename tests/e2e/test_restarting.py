"""Stop and start of one key, as fast as a source can say it, a hundred times."""

import asyncio

import pytest

from tests.fakes.machine import PREFIX, encode, until

ROUNDS = 100


@pytest.mark.slow
async def test_a_hundred_restarts_within_ten_milliseconds_leave_one_session_of_the_newest_epoch(station, upstream):
    await station.publish("sources/enc/streams/one/started", _started(upstream, 0))
    await until(lambda: _epoch_is_live(station, 0))
    async with station.http.get(station.ts("one")) as warm:
        await warm.content.readexactly(188)
    before = _footprint(station)
    async with station.source() as source:
        for epoch in range(1, ROUNDS + 1):
            ended = {"boot_id": "b", "epoch": epoch - 1, "seq": 2}
            await source.publish(f"{PREFIX}/sources/enc/streams/one/ended", encode(ended), qos=1)
            started = _started(upstream, epoch)
            await source.publish(f"{PREFIX}/sources/enc/streams/one/started", encode(started), qos=1)
            await asyncio.sleep(0.01)
    await until(lambda: _epoch_is_live(station, ROUNDS), 20)
    # The viewer of the newest run watches through everything that is still being torn down.
    async with station.http.get(station.ts("one")) as viewer:
        assert viewer.status == 200
        async with asyncio.timeout(20):
            await viewer.content.readexactly(188 * 2000)
    await until(lambda: _settled(station), 20)
    listed = await station.control("GET", "/sessions")
    assert [(s["key"], s["epoch"]) for s in listed["sessions"]] == [("one", ROUNDS)]
    runs = await station.streams("?status=all&key=one&limit=1000")
    assert len(runs) == ROUNDS + 1
    assert [run["state"] for run in runs if run["epoch"] != ROUNDS] == ["CLOSED"] * ROUNDS
    await until(lambda: not upstream.open["one"], 30)
    after = await until(lambda: _calm(station, before), 20)
    assert after


def _started(upstream, epoch: int) -> dict[str, object]:
    return {"upstreams": [upstream.url("one")], "boot_id": "b", "epoch": epoch, "seq": 1}


async def _epoch_is_live(station, epoch: int) -> bool:
    stream = await station.stream("one")
    return stream is not None and stream["epoch"] == epoch and stream["state"] == "LIVE"


async def _settled(station) -> bool:
    """Everything that ended is confirmed gone."""
    return [stream["state"] for stream in await station.streams()] == ["LIVE"]


def _footprint(station) -> dict[str, tuple[int, int]]:
    """Open file descriptors and threads, by process."""
    return {name: (process.num_fds(), process.num_threads()) for name, process in station.processes().items()}


def _calm(station, before: dict[str, tuple[int, int]]) -> bool:
    """No process holds more files or threads than before, but for a few connections that are kept alive."""
    after = _footprint(station)
    return all(after[name][0] <= fds + 8 and after[name][1] <= threads + 4 for name, (fds, threads) in before.items())
