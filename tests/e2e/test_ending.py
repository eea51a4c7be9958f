"""The end of a stream is the end of its sessions, of no others, and is told only when it is true."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from tests.fakes.machine import until


class Watcher:
    """A viewer that reads, and notes when its stream ended."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ended_at: float | None = None
        self.error = ""

    async def read(self, machine, key: str) -> None:
        try:
            async with machine.http.get(machine.ts(key)) as response:
                assert response.status == 200
                async for chunk in response.content.iter_any():
                    self.bytes += len(chunk)
        except OSError as failed:
            self.error = repr(failed)
        self.ended_at = time.monotonic()


@asynccontextmanager
async def audience(machine, keys: list[str]):
    """Watch every key with one viewer, and leave in the end."""
    watchers = {key: Watcher() for key in keys}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.read(machine, key)) for key, watcher in watchers.items()]
        await until(lambda: all(watcher.bytes for watcher in watchers.values()))
        try:
            yield watchers
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def sync_checked(machine):
    """Ask both forms of the sync check every 100 ms; whatever they find is collected."""
    found: list[object] = []
    polls = 0

    async def poll() -> None:
        nonlocal polls
        while True:
            for live in (False, True):
                answer = await machine.sync_check(live=live)
                polls += 1
                if answer["discrepancies"]["has_issues"]:
                    found.append(answer)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(poll())
        try:
            yield found
        finally:
            task.cancel()
    assert polls > 10


async def announce(machine, upstream, keys, **more) -> None:
    for key in keys:
        payload = {"upstreams": [upstream.url(key)], "boot_id": "b1", "epoch": 1, "seq": 1, **more}
        await machine.publish(f"sources/encoder/streams/{key}/started", payload)
    for key in keys:
        await until(lambda key=key: _is(machine, key, "LIVE"))


async def _is(machine, key: str, state: str) -> bool:
    return await machine.state(key) == state


@pytest.mark.slow
async def test_ended_reaches_every_viewer_within_a_second_and_closed_is_true(station, upstream):
    async with sync_checked(station) as issues:
        await announce(station, upstream, ["one"])
        async with audience(station, ["one"]) as watchers:
            assert await _hls_status(station, "one") == 200
            await asyncio.sleep(3)
            began = time.monotonic()
            await station.publish("sources/encoder/streams/one/ended", {"boot_id": "b1", "epoch": 1, "seq": 2})
            await until(lambda: watchers["one"].ended_at, 2, every=0.01)
            hls = await _hls_status(station, "one")
            took = time.monotonic() - began
            assert took < 1.0, took
            assert hls == 410
            assert watchers["one"].error == ""
            await until(lambda: not upstream.open["one"], 2)
        await until(lambda: _is(station, "one", "CLOSED"), 3)
        moves = [move["to_state"] for move in (await station.get("/streams/one/transitions"))["items"]]
        assert sorted(moves) == sorted(["PENDING", "STARTING", "LIVE", "ENDED", "CLOSED"])
        await asyncio.sleep(1)
    assert issues == []
    assert await station.streams() == []


async def _hls_status(machine, key: str) -> int:
    async with machine.http.get(machine.hls(key)) as response:
        return response.status


@pytest.mark.slow
async def test_ending_one_of_three_never_costs_the_others_a_byte(station, upstream):
    keys = ["one", "two", "three"]
    await announce(station, upstream, ["two", "three"])
    async with sync_checked(station) as issues, audience(station, ["two", "three"]) as others:
        for round_number, how in enumerate(["mqtt", "rest", "eof", "repeated", "mqtt"], start=1):
            await _run_and_end_one(station, upstream, round_number, how)
            # What names nobody, or somebody of before, ends nobody.
            old = {"boot_id": "b1", "epoch": round_number - 1, "seq": 9}
            await station.publish("sources/encoder/streams/one/ended", old)
            await station.publish("sources/encoder/streams/nobody/ended", {"boot_id": "b1", "epoch": 1, "seq": 9})
            await station.publish("streams/two/ended", {})
            before = {key: watcher.bytes for key, watcher in others.items()}
            await until(lambda: all(others[k].bytes > before[k] for k in others), 3)  # noqa: B023
        assert all(watcher.ended_at is None for watcher in others.values())
    assert issues == []
    assert upstream.opened["two"] == upstream.opened["three"] == 1
    running = {stream["key"]: stream["state"] for stream in await station.streams()}
    assert running == {"two": "LIVE", "three": "LIVE"}, keys


async def _run_and_end_one(station, upstream, epoch: int, how: str) -> None:
    name = f"one-{epoch}"
    started = {"upstreams": [upstream.url(name)], "boot_id": "b1", "epoch": epoch, "seq": 1}
    if how == "eof":
        started["on_eof"] = "end"
    await station.publish("sources/encoder/streams/one/started", started)
    await until(lambda: _runs_epoch(station, epoch))
    async with audience(station, ["one"]) as watchers:
        match how:
            case "rest":
                stream = await station.stream("one")
                assert await station.delete(f"/streams/{stream['id']}") in (200, 202)
            case "eof":
                upstream.end(name)
            case _:
                ended = {"boot_id": "b1", "epoch": epoch, "seq": 2}
                for _ in range(5 if how == "repeated" else 1):
                    await station.publish("sources/encoder/streams/one/ended", ended)
        await until(lambda: watchers["one"].ended_at, 5)
    await until(lambda: _is(station, "one", "CLOSED"), 5)


async def _runs_epoch(station, epoch: int) -> bool:
    stream = await station.stream("one")
    return stream is not None and stream["epoch"] == epoch and stream["state"] == "LIVE"


@pytest.mark.slow
async def test_a_machine_stops_within_five_seconds_while_people_watch(station, upstream):
    await announce(station, upstream, ["one"])
    async with audience(station, ["one"]):
        assert await station.stop() < 5
