"""An upstream that misbehaves costs its own viewers a clear answer, and nobody else a byte."""

import asyncio
import time

import pytest

from tests.fakes.machine import until
from tests.fakes.ports import free_port


@pytest.fixture
async def bystander(station, upstream):
    """Somebody who watches a healthy stream throughout, and must not notice."""
    await station.publish("streams/healthy/started", {"upstreams": [upstream.url("healthy")]})
    await until(lambda: _is(station, "healthy", "LIVE"))
    seen = {"bytes": 0, "longest_gap": 0.0, "ended": False}

    async def watch() -> None:
        async with station.http.get(station.ts("healthy")) as response:
            last = time.monotonic()
            async for chunk in response.content.iter_any():
                now = time.monotonic()
                seen["longest_gap"] = max(seen["longest_gap"], now - last)
                seen["bytes"] += len(chunk)
                last = now
        seen["ended"] = True

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        await until(lambda: seen["bytes"])
        yield seen
        assert not seen["ended"]
        assert seen["longest_gap"] < 3
        assert upstream.opened["healthy"] == 1
        task.cancel()


async def _is(station, key: str, state: str) -> bool:
    return await station.state(key) == state


async def _flowing(station, key: str) -> dict[str, str]:
    condition = await station.condition(key, "Flowing")
    return condition or {"status": "", "reason": "", "message": ""}


@pytest.mark.slow
@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("kind", "statuses", "word"),
    [
        pytest.param("refuses", {502, 504}, "connect", id="refuses connections"),
        pytest.param("missing", {502, 504}, "404", id="answers 404"),
        pytest.param("html", {502, 504}, "MPEG-TS", id="sends HTML"),
        pytest.param("hang", {504}, "", id="hangs"),
    ],
)
async def test_a_start_that_fails_is_a_clear_answer_and_a_condition(station, upstream, kind, statuses, word):
    url = f"http://127.0.0.1:{free_port()}/x.ts" if kind == "refuses" else upstream.url("bad", kind)
    await station.publish("streams/bad/started", {"upstreams": [url]})
    await until(lambda: _is(station, "bad", "LIVE"))
    noted = asyncio.Event()

    async def note() -> None:
        await until(lambda: _says(station, word), 20)
        noted.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(note())
        began = time.monotonic()
        async with station.http.get(station.ts("bad")) as response:
            body = await response.json(content_type=None)
        assert response.status in statuses
        assert response.content_type == "application/problem+json"
        assert body["detail"]
        assert word.lower() in body["detail"].lower()
        assert time.monotonic() - began < 20
    assert noted.is_set()
    async with station.http.get(station.hls("bad")) as response:
        assert response.status in {502, 504}
    # A failed start on demand never ends the stream.
    assert await station.state("bad") in ("LIVE", "STALLED")
    assert (await station.sync_check(live=True))["discrepancies"]["has_issues"] is False


async def _says(station, word: str) -> bool:
    condition = await _flowing(station, "bad")
    return condition["status"] == "False" and word.lower() in condition["message"].lower()


async def _read(station, key: str, seconds: float) -> bytes:
    received = bytearray()
    async with station.http.get(station.ts(key)) as response:
        assert response.status == 200
        try:
            async with asyncio.timeout(seconds):
                async for chunk in response.content.iter_any():
                    received += chunk
        except TimeoutError:
            return bytes(received)
    pytest.fail("the viewer was cut off")


def _misaligned(media: bytes) -> int:
    return sum(media[at] != 0x47 for at in range(0, len(media), 188))


@pytest.mark.slow
async def test_a_viewer_keeps_its_connection_while_its_upstream_drops_again_and_again(station, upstream, bystander):
    await station.publish("streams/bad/started", {"upstreams": [upstream.url("bad", "drops")]})
    await until(lambda: _is(station, "bad", "LIVE"))
    media = await _read(station, "bad", 14)
    assert upstream.opened["bad"] >= 3
    assert upstream.open["bad"] <= 1
    assert _misaligned(media) == 0
    assert len(media) > 200_000


@pytest.mark.slow
async def test_junk_between_packets_never_reaches_a_viewer(station, upstream, bystander):
    await station.publish("streams/bad/started", {"upstreams": [upstream.url("bad", "junk")]})
    await until(lambda: _is(station, "bad", "LIVE"))
    media = await _read(station, "bad", 5)
    assert _misaligned(media) == 0
    assert len(media) > 100_000
    session = (await station.control("GET", "/sessions"))["sessions"]
    assert next(s for s in session if s["key"] == "bad")["resyncs"] > 10


@pytest.mark.slow
async def test_an_upstream_that_stays_away_stalls_its_stream_and_ends_it_after_the_timeout(
    station, upstream, bystander
):
    started = {"upstreams": [upstream.url("bad")], "on_demand": False, "stall_timeout": 3}
    await station.publish("streams/bad/started", started)
    await until(lambda: _flows(station))
    upstream.end("bad")
    await until(lambda: _is(station, "bad", "STALLED"), 30)
    await until(lambda: _is(station, "bad", "CLOSED"), 15)
    stream = await station.stream("bad")
    assert (stream["reason"], stream["outcome"]) == ("stall_timeout", "failed")


async def _flows(station) -> bool:
    return (await _flowing(station, "bad"))["status"] == "True"
