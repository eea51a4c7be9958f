"""Probes, and the comparison over HTTP."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.api.services import Health
from controller.domain.observation import Freshness, Observed
from controller.store.engine import Database
from tests.fakes.api_world import World, session_of
from tests.fakes.asgi import Client


async def test_the_process_lives_whatever_else_is_broken(world: World, database: Database) -> None:
    await database.dispose()
    world.health = Health(has_observed=False, broker="connecting")
    answer = await world.client.get("/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "ok", "version": "1.2.3"})


async def test_it_is_ready_once_the_database_answers_and_the_proxies_were_listed(world: World) -> None:
    assert (await world.client.get("/readyz")).status == 200
    world.health = Health(has_observed=False)
    answer = await world.client.get("/readyz")
    assert (answer.status, answer.json()["ready"], answer.json()["observation"]["ok"]) == (503, False, False)


async def test_a_broker_that_is_away_is_told_and_keeps_nobody_from_the_page(world: World) -> None:
    world.health = Health(has_observed=True, broker="connecting", broker_detail="refused")
    answer = await world.client.get("/readyz")
    assert answer.status == 200
    assert answer.json()["broker"] == {"ok": False, "detail": "connecting: refused"}


async def test_without_its_database_it_is_not_ready(client: Client, database: Database) -> None:
    await database.dispose()
    answer = await client.get("/readyz")
    assert (answer.status, answer.json()["database"]["ok"]) == (503, False)


async def test_a_database_that_takes_no_lease_is_not_ready(world: World) -> None:
    world.health = Health(has_observed=True, is_leader=False, database_detail="database or disk is full")
    answer = await world.client.get("/readyz")
    assert (answer.status, answer.json()["ready"]) == (503, False)
    assert answer.json()["database"] == {"ok": False, "detail": "database or disk is full"}


@pytest.mark.parametrize(("seconds", "is_told"), [(4.9, False), (5.0, True)])
async def test_that_recording_waits_is_told_and_takes_nobody_out_of_service(
    world: World, seconds: float, is_told: bool
) -> None:
    """Where rows can be changed and none be added (a full disk of Postgres) a leader goes on, and reading does."""
    world.health = Health(True, recording_trouble="No space left on device", recording_delayed_seconds=seconds)
    answer = await world.client.get("/readyz")
    since = (world.services.clock() - timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:")
    assert (answer.status, answer.json()["ready"]) == (200, True)
    assert answer.json()["database"]["ok"] is not is_told
    detail = answer.json()["database"]["detail"]
    assert detail.startswith(f"recording delayed since {since}") is is_told
    assert detail.endswith(" UTC: No space left on device") is is_told


async def test_a_database_that_is_away_comes_before_what_waits_for_it(world: World, database: Database) -> None:
    await database.dispose()
    world.health = Health(True, recording_trouble="gone", recording_delayed_seconds=60)
    answer = await world.client.get("/readyz")
    assert answer.status == 503
    assert "recording" not in answer.json()["database"]["detail"]


async def test_on_its_way_out_it_is_not_ready(world: World) -> None:
    world.stopping.set()
    assert (await world.client.get("/readyz")).status == 503


async def issues(world: World, query: str = "") -> dict[str, list[str]]:
    found = (await world.client.get(f"/debug/sync-check{query}")).json()["discrepancies"]
    named = {name: keys for name, keys in found.items() if name != "has_issues" and keys}
    assert found["has_issues"] is bool(named)
    return named


async def test_the_comparison_has_exactly_the_shape_of_the_contract(client: Client) -> None:
    nothing = {"session_count": 0, "session_keys": []}
    assert (await client.get("/debug/sync-check")).json() == {
        "state": {"stream_count": 0, "stream_keys": []},
        "ts_proxy": nothing,
        "hls_proxy": nothing,
        "discrepancies": {
            "orphaned_ts_sessions": [],
            "orphaned_hls_sessions": [],
            "missing_ts_sessions": [],
            "missing_hls_sessions": [],
            "has_issues": False,
        },
    }


@pytest.mark.parametrize("query", ["", "?live=1", "?live=true", "?live=0"])
async def test_each_drift_is_reported_and_its_repair_too(world: World, query: str) -> None:
    run = await world.play()
    assert await issues(world, query) == {}

    world.hide()
    assert await issues(world, query) == {"missing_ts_sessions": ["cam-7"], "missing_hls_sessions": ["cam-7"]}

    world.show(session_of(run), replace(session_of(run), stream_id="ghost", key="ghost"))
    assert await issues(world, query) == {"orphaned_ts_sessions": ["ghost"], "orphaned_hls_sessions": ["ghost"]}

    world.hide()
    world.show(session_of(run))
    assert await issues(world, query) == {}

    await world.client.delete("/streams/cam-7")
    assert await issues(world, query) == {}, "its stop has just been decided"
    world.now += timedelta(seconds=20)
    world.hide()
    world.show(session_of(run))
    assert await issues(world, query) == {"orphaned_ts_sessions": ["cam-7"], "orphaned_hls_sessions": ["cam-7"]}

    world.hide()
    assert await issues(world, query) == {}


async def test_an_unreachable_proxy_is_reported(world: World) -> None:
    await world.play()
    world.observed = Observed((replace(world.observed.proxies[0], freshness=Freshness.STALE),))
    assert set(await issues(world)) == {"missing_ts_sessions", "missing_hls_sessions"}


async def test_a_stream_that_starts_while_the_proxies_are_listed_is_no_drift(world: World) -> None:
    async def start_meanwhile() -> None:
        await world.play("late")

    world.at_observe = start_meanwhile
    found = (await world.client.get("/debug/sync-check?live=1")).json()
    assert (found["ts_proxy"]["session_keys"], found["discrepancies"]["has_issues"]) == (["late"], False)


async def test_a_stream_that_comes_and_goes_while_the_proxies_are_listed_is_no_drift(world: World) -> None:
    async def come_and_go() -> None:
        run = await world.play("short")
        await world.client.delete("/streams/short")

        def close(draft: object) -> None:
            draft.mark_gone(1)

        await world.change(await world.run(run.stream.id), close)

    world.at_observe = come_and_go
    found = (await world.client.get("/debug/sync-check?live=1")).json()
    assert (found["ts_proxy"]["session_keys"], found["discrepancies"]["has_issues"]) == (["short"], False)
