"""What a source may get wrong is counted, kept or refused, and changes nothing else."""

import contextlib
import json

import aiohttp
import aiomqtt
import pytest

from tests.fakes import machine as machines
from tests.fakes.machine import PREFIX, until

GOOD = {"upstreams": ["demo:"], "boot_id": "b", "epoch": 5, "seq": 1}
LONG = "k" * 300

HUGE = b'{"upstreams":["' + b"x" * 10_000_000 + b'"]}'
"""More than the broker that we ship a configuration for lets through."""

LARGE = b'{"upstreams":["' + b"x" * 200_000 + b'"]}'

UNREADABLE = {
    "200 KB": ("streams/large/started", LARGE),
    "not UTF-8": ("streams/a/started", b'{"upstreams":["http://h/\xff\xfe"]}'),
    "not JSON": ("streams/b/started", b"{upstreams:"),
    "not an object": ("streams/c/started", b"[1, 2]"),
    "upstreams of a wrong type": ("streams/d/started", {"upstreams": 7}),
    "no upstream": ("streams/e/started", {"upstreams": []}),
    "epoch of a wrong type": ("sources/s/streams/f/started", {**GOOD, "epoch": "five"}),
    "epoch without seq": ("sources/s/streams/g/started", {"upstreams": ["demo:"], "epoch": 5}),
    "negative epoch": ("sources/s/streams/h/started", {**GOOD, "epoch": -5}),
    "key that climbs": ("streams/../started", GOOD),
    "key that climbs further": ("streams/../../etc/started", GOOD),
    "key of 300 characters": (f"streams/{LONG}/started", GOOD),
    "key with a space": ("streams/my cam/started", GOOD),
    "unknown topic": ("streams/a/exploded", GOOD),
    "nesting bomb": ("streams/i/started", b"[" * 50_000),
    "scheme that nobody knows": ("streams/j/started", {"upstreams": ["gopher://h/"]}),
}


async def _running(station) -> dict[str, tuple[int, str]]:
    return {stream["key"]: (stream["epoch"], stream["state"]) for stream in await station.streams()}


@pytest.mark.slow
async def test_what_cannot_be_read_is_kept_in_quarantine_and_changes_nothing(station):
    await station.publish("sources/s/streams/steady/started", GOOD)
    await until(lambda: _is(station, "steady", "LIVE"))
    before = await station.get("/streams/steady/transitions")
    async with station.source() as source:
        for topic, payload in UNREADABLE.values():
            body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            await source.publish(f"{PREFIX}/{topic}", body, qos=1)
    kept = await until(lambda: _quarantine(station, len(UNREADABLE)), 15)
    assert all(entry["reason"] for entry in kept)
    assert max(len(entry["payload"]) for entry in kept) <= 6 * 4096
    assert await _running(station) == {"steady": (5, "LIVE")}
    assert await station.get("/streams/steady/transitions") == before
    # And the road is not blocked.
    await station.publish("streams/after/started", {"upstreams": ["demo:"]})
    await until(lambda: _is(station, "after", "LIVE"))


async def _quarantine(station, count: int) -> list[dict[str, object]] | None:
    kept = (await station.get("/quarantine?limit=100"))["items"]
    return kept if len(kept) >= count else None


async def _is(station, key: str, state: str) -> bool:
    return await station.state(key) == state


@pytest.mark.slow
async def test_ten_megabytes_through_the_embedded_broker_are_refused_and_block_nobody(tmp_path):
    async with machines.machine(tmp_path) as machine:
        async with machine.source() as source:
            with contextlib.suppress(aiomqtt.MqttError):
                await source.publish(f"{PREFIX}/streams/huge/started", HUGE, qos=1, timeout=20)
        await machine.publish("streams/after/started", {"upstreams": ["demo:"]})
        await until(lambda: _is(machine, "after", "LIVE"), 20)
        assert await _running(machine) == {"after": (1, "LIVE")}


@pytest.mark.slow
async def test_order_is_what_the_source_says_and_not_arrival(station):
    async def say(word: str, epoch: int, seq: int, key: str = "one") -> None:
        payload = {"boot_id": "b", "epoch": epoch, "seq": seq}
        if word == "started":
            payload["upstreams"] = ["demo:"]
        await station.publish(f"sources/s/streams/{key}/{word}", payload)

    # The end before its start leaves no ghost.
    await say("ended", 7, 2, "ghost")
    await say("started", 7, 1, "ghost")
    # Duplicates and reordering leave one run, of the newest epoch.
    for epoch, seq in [(3, 1), (3, 1), (2, 1), (4, 1), (3, 5), (4, 1), (1, 9)]:
        await say("started", epoch, seq)
    await say("ended", 3, 9)
    await say("ended", 2, 9)
    await until(lambda: _runs(station, {"one": (4, "LIVE")}))
    runs = await station.streams("?status=all&key=one")
    assert sorted(run["epoch"] for run in runs) == [3, 4]
    assert await station.stream("ghost") is None
    await say("ended", 4, 2)
    await until(lambda: _runs(station, {}))
    await say("started", 4, 1)
    await say("started", 4, 3)
    await station.publish("streams/marker/started", {"upstreams": ["demo:"]})
    await until(lambda: _runs(station, {"marker": (1, "LIVE")}))


async def _runs(station, wished: dict[str, tuple[int, str]]) -> bool:
    return await _running(station) == wished


@pytest.mark.slow
async def test_last_will_is_not_the_end_and_births_decide(station):
    online = {"online": True, "boot_id": "b1"}
    await station.publish("sources/enc/status", online, retain=True)
    for key in ("kept", "lost"):
        await station.publish(
            f"sources/enc/streams/{key}/started", {"upstreams": ["demo:"], "boot_id": "b1", "epoch": 1, "seq": 1}
        )
    await until(lambda: _runs(station, {"kept": (1, "LIVE"), "lost": (1, "LIVE")}))
    await station.publish("sources/enc/status", {"online": False, "boot_id": "b0"}, retain=True)
    await station.publish("sources/enc/status", {"online": False, "boot_id": "b1"}, retain=True)
    await until(lambda: _runs(station, {"kept": (1, "STALLED"), "lost": (1, "STALLED")}))
    await station.publish("sources/enc/status", online, retain=True)
    await until(lambda: _runs(station, {"kept": (1, "LIVE"), "lost": (1, "LIVE")}))
    listed = {"key": "kept", "upstreams": ["demo:"], "epoch": 1, "seq": 1}
    await station.publish("sources/enc/birth", {"boot_id": "b1", "seq": 1, "streams": [listed]})
    await until(lambda: _runs(station, {"kept": (1, "LIVE"), "lost": (1, "STALLED")}))
    await station.publish("sources/enc/birth", {"boot_id": "b1", "seq": 2, "streams": [listed]})
    await until(lambda: _runs(station, {"kept": (1, "LIVE")}))
    lost = await station.stream("lost")
    assert (lost["reason"], lost["outcome"]) == ("source_lost", "failed")


@pytest.mark.slow
async def test_rest_speaks_the_same_rules_and_needs_its_token(tmp_path, mosquitto):
    environment = {"PENSTOCK_API_TOKEN": "s3cret"}
    async with machines.machine(tmp_path, mqtt_port=mosquitto.port, environment=environment) as machine:
        body = {"key": "cam", "upstreams": ["demo:"]}
        status, problem = await machine.post("/streams", body)
        assert (status, problem["status"]) == (401, 401)
        headers = {"Authorization": "Bearer s3cret"}
        url = f"http://127.0.0.1:{machine.http_port}"
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.post(f"{url}/streams", json=body) as response:
                assert response.status == 201
            await until(lambda: _is(machine, "cam", "LIVE"))
            async with http.post(f"{url}/streams", json={"key": "../up", "upstreams": ["demo:"]}) as response:
                assert response.status == 400
                assert response.content_type == "application/problem+json"
            assert await machine.delete("/streams/cam") == 401
            async with http.delete(f"{url}/streams/cam") as response:
                assert response.status in (200, 202)
        await until(lambda: _is(machine, "cam", "CLOSED"))
