"""What the control loop found, did and would do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.domain.breaker import Breaker
from controller.domain.events import MessageRefused
from controller.domain.plan import Action, Drift, DriftKind, Plan, Verb
from controller.errors import ConflictError
from controller.store import plans
from tests.fakes.api_world import World

FOUND = Drift(DriftKind.ORPHAN_UNKNOWN, "ghost", "s9", "p1", 3, "the database knows neither stream nor key")
HELD = Plan((Action(Verb.HOLD, "ghost", "s9", "p1", 3, FOUND.evidence, FOUND, "60 s and 2 looks"),))


async def save(world: World, planned: Plan) -> None:
    await world.database.write(
        plans.save, planned, world.observed, keys=None, now=world.now, token=7, duration_seconds=0.25
    )


async def test_a_drift_is_listed_until_it_is_repaired_and_kept_after(world: World) -> None:
    await save(world, HELD)
    (found,) = (await world.client.get("/drift")).json()["items"]
    assert (found["kind"], found["drift_class"], found["action"], found["gate"]) == (
        "orphan_unknown",
        "N",
        "hold",
        "60 s and 2 looks",
    )
    await save(world, Plan())
    assert (await world.client.get("/drift")).json()["items"] == []
    (kept,) = (await world.client.get("/drift?open=false")).json()["items"]
    assert kept["repaired_at"] is not None


async def test_every_cycle_is_told_with_its_actions(world: World) -> None:
    await save(world, HELD)
    await save(world, Plan())
    newest, oldest = (await world.client.get("/reconcile")).json()["items"]
    assert newest["id"] > oldest["id"]
    assert (oldest["token"], oldest["duration_seconds"], oldest["cause"]) == (7, 0.25, "resync")
    assert oldest["actions"][0] == {
        "verb": "hold",
        "key": "ghost",
        "stream_id": "s9",
        "proxy_id": "p1",
        "generation": 3,
        "why": FOUND.evidence,
        "drift_kind": "orphan_unknown",
        "gate": "60 s and 2 looks",
    }


async def test_a_plan_is_shown_and_not_done(world: World) -> None:
    world.planned = HELD
    found = (await world.client.get("/reconcile/plan")).json()
    assert [item["verb"] for item in found["items"]] == ["hold"]
    assert (found["is_empty"], found["next_cursor"]) == (True, None)
    assert (await world.client.get("/reconcile")).json()["items"] == []


OPENED = Plan(HELD.actions, digest="0123456789ab", breaker=Breaker(datetime(2026, 3, 1, tzinfo=UTC), "40 of 40"))


async def test_a_plan_tells_of_the_breaker_and_what_to_approve(world: World) -> None:
    calm = (await world.client.get("/reconcile/plan")).json()
    assert (calm["digest"], calm["breaker"]) == ("", {"is_open": False, "opened_at": None, "cause": ""})
    world.planned = OPENED
    found = (await world.client.get("/reconcile/plan")).json()
    assert found["digest"] == "0123456789ab"
    assert found["breaker"] == {"is_open": True, "opened_at": "2026-03-01T00:00:00Z", "cause": "40 of 40"}


async def test_exactly_the_plan_of_now_is_approved(world: World) -> None:
    wish = {"digest": "0123456789ab", "owner": "bob", "why": "it was restored"}
    refused = await world.client.post("/reconcile/approvals", wish)
    assert (refused.status, "holds nothing" in refused.json()["detail"]) == (409, True)
    world.planned = replace(OPENED, digest="ba9876543210")
    assert "ba9876543210" in (await world.client.post("/reconcile/approvals", wish)).json()["detail"]
    assert world.woken_all == 0
    world.planned = OPENED
    given = await world.client.post("/reconcile/approvals", wish)
    assert (given.status, given.json()["owner"], given.json()["used_at"]) == (201, "bob", None)
    assert (await world.client.get("/reconcile/approvals")).json()["items"] == [given.json()]
    assert world.woken_all == 1


@pytest.mark.parametrize("wish", [{"digest": "x", "owner": "bob"}, {"digest": "0123456789ab"}], ids=str)
async def test_an_approval_that_is_none_is_refused(world: World, wish) -> None:
    assert (await world.client.post("/reconcile/approvals", wish)).status == 400


async def test_a_run_answers_with_what_the_newest_cycle_wrote(world: World) -> None:
    assert (await world.client.post("/reconcile/run")).json() == {"cycle": None}
    await save(world, HELD)
    answer = await world.client.post("/reconcile/run")
    assert (answer.status, answer.json()["cycle"]["token"]) == (200, 7)


async def test_a_controller_that_does_not_lead_says_so(world: World) -> None:
    world.run_error = ConflictError("another controller leads")
    answer = await world.client.post("/reconcile/run")
    assert (answer.status, answer.json()["detail"]) == (409, "another controller leads")


async def test_what_could_not_be_read_is_shown_as_text_where_it_is_text(world: World) -> None:
    cut = "é".encode() * 2048 + b"\xc3"
    await world.record(
        MessageRefused("t/1", b"{broken", 7, "not JSON"),
        MessageRefused("t/2", b"\xff\x00", 2, "not JSON"),
        MessageRefused("t/3", cut, 5000, "too large"),
    )
    third, second, first = (await world.client.get("/quarantine")).json()["items"]
    assert (first["payload"], first["payload_encoding"], first["topic"]) == ("{broken", "utf-8", "t/1")
    assert (second["payload"], second["payload_encoding"]) == ("ff 00", "hex")
    assert (third["payload"], third["payload_encoding"], third["payload_bytes"]) == ("é" * 2048, "utf-8", 5000)
