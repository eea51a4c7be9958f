"""A stream whose upstream plays the same pictures again and again, on a whole machine."""

import pytest

from tests.fakes import machine as machines
from tests.fakes.machine import until
from tests.fakes.upstream import fake_upstream

LOOP_TIMEOUT_SECONDS = 2
ENVIRONMENT = {"PENSTOCK_LOOP_TIMEOUT_SECONDS": str(LOOP_TIMEOUT_SECONDS), "PENSTOCK_RESYNC_SECONDS": "1"}


@pytest.mark.slow
async def test_a_loop_is_a_condition_then_an_end_and_its_key_is_blocked_until_that_is_cleared(tmp_path, mosquitto):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    async with (
        fake_upstream() as upstream,
        machines.machine(data, mqtt_port=mosquitto.port, environment=ENVIRONMENT) as station,
    ):
        wish = {"key": "slate", "upstreams": [upstream.url("/flow")], "on_demand": False}
        other = {"key": "art", "upstreams": [upstream.url("/flow?art")], "on_demand": False, "loop": "allow"}
        assert [(await station.post("/streams", asked))[0] for asked in (wish, other)] == [201, 201]

        async def loops() -> bool:
            condition = await station.condition("slate", "Looping")
            return condition is not None and condition["status"] == "True"

        async def is_closed() -> bool:
            return await station.state("slate") == "CLOSED"

        await until(loops)
        assert await station.state("slate") in ("STARTING", "LIVE")
        await until(is_closed)
        assert (await station.stream("slate"))["reason"] == "loop_detected"
        [block] = (await station.get("/blocks"))["items"]
        assert (block["key"], block["reason"]) == ("slate", "loop_detected")
        status, problem = await station.post("/streams", wish)
        assert (status, problem["verdict"]) == (409, "blocked")
        assert await station.delete("/blocks/slate") == 204
        assert (await station.get("/blocks"))["items"] == []
        assert (await station.post("/streams", wish))[0] == 201
        assert await station.state("art") == "LIVE"  # it may loop
