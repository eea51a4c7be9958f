"""What operators allow the control loop to do, set and removed over REST."""

from datetime import datetime

import pytest

from controller.store import controls
from tests.fakes.api_world import World

TARGETS = [
    pytest.param("/reconcile", "global", "", id="everything"),
    pytest.param("/proxies/p1", "proxy", "p1", id="a proxy"),
    pytest.param("/streams/cam-7", "stream", "cam-7", id="a key"),
]


@pytest.mark.parametrize(("path", "scope", "subject"), TARGETS)
async def test_a_pause_has_an_owner_and_an_end_and_can_be_ended(world: World, path, scope, subject) -> None:
    wish = {"for_seconds": 600, "owner": "bob", "why": "works"}
    answer = await world.client.put(f"{path}/pause", wish)
    held = answer.json()
    assert (answer.status, held["scope"], held["subject"], held["name"]) == (200, scope, subject, "pause")
    lasts = datetime.fromisoformat(held["expires_at"]) - datetime.fromisoformat(held["set_at"])
    assert (held["owner"], held["why"], lasts.total_seconds()) == ("bob", "works", 600)
    assert (await world.client.get("/reconcile/controls")).json()["items"] == [held]
    assert (await world.client.delete(f"{path}/pause")).status == 204
    assert (await world.client.get("/reconcile/controls")).json()["items"] == []
    assert (await world.client.delete(f"{path}/pause")).status == 404
    assert world.woken_all == 2


@pytest.mark.parametrize(("path", "scope", "subject"), TARGETS)
async def test_a_mode_is_set_over_an_earlier_one_and_removed(world: World, path, scope, subject) -> None:
    for mode in ("observe", "additive_only"):
        assert (await world.client.put(f"{path}/mode", {"mode": mode, "owner": "bob"})).status == 200
    [held] = (await world.client.get("/reconcile/controls")).json()["items"]
    assert (held["scope"], held["subject"], held["name"], held["value"]) == (scope, subject, "mode", "additive_only")
    assert held["expires_at"] is None
    assert (await world.client.delete(f"{path}/mode")).status == 204
    assert await world.database.read(controls.load_now) == ()


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        pytest.param("pause", {"owner": "bob"}, id="a pause without an end"),
        pytest.param("pause", {"for_seconds": 60}, id="nobody's pause"),
        pytest.param("pause", {"for_seconds": -1, "owner": "bob"}, id="one that is over"),
        pytest.param("mode", {"mode": "chaos", "owner": "bob"}, id="a mode that there is not"),
        pytest.param("mode", {"mode": "observe", "owner": "bob", "until": "ever"}, id="a field that there is not"),
    ],
)
async def test_what_is_not_said_properly_is_refused(world: World, name, wish) -> None:
    assert (await world.client.put(f"/reconcile/{name}", wish)).status == 400
    assert await world.database.read(controls.load_now) == ()


async def test_a_proxy_is_drained_and_taken_back_and_the_list_of_proxies_says_so(world: World) -> None:
    async def is_draining() -> tuple[bool, bool]:
        [proxy] = (await world.client.get("/proxies")).json()["items"]
        return proxy["is_draining"], proxy["is_decommissioned"]

    for name, told in (("drain", (True, False)), ("decommission", (True, True))):
        answer = await world.client.post(f"/proxies/p1/{name}", {"owner": "bob", "why": "a new disk"})
        held = answer.json()
        assert (answer.status, held["scope"], held["subject"], held["name"]) == (200, "proxy", "p1", name)
        assert (held["owner"], held["why"], held["expires_at"]) == ("bob", "a new disk", None)
        assert await is_draining() == told
        assert (await world.client.delete(f"/proxies/p1/{name}")).status == 204
        assert (await world.client.delete(f"/proxies/p1/{name}")).status == 404
        assert await is_draining() == (False, False)
        assert (await world.client.post(f"/proxies/p1/{name}", {})).status == 400
    assert world.woken_all == 4
