"""The page of metrics can be read by Prometheus, and says what is so."""

from prometheus_client.parser import text_string_to_metric_families

from controller.api.services import Figure, Health, figure, histogram
from tests.fakes.api_world import World


async def read(world: World) -> dict[str, dict[tuple[str, ...], float]]:
    answer = await world.client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        sample.name: {
            **{tuple(s.labels.values()): s.value for s in family.samples if s.name == sample.name},
        }
        for family in families
        for sample in family.samples
    }


async def test_the_numbers_are_those_of_now(world: World) -> None:
    await world.play(viewers_ts=2, bitrate_bps=8_000_000)
    world.health = Health(has_observed=True, broker="connecting")
    found = await read(world)
    assert found["penstock_streams"]["LIVE",] == 1
    assert found["penstock_streams"]["PENDING",] == 0
    assert found["penstock_viewers"]["p1",] == 2
    assert found["penstock_sessions"]["p1",] == 1
    assert found["penstock_proxy_up"]["p1",] == 1
    assert found["penstock_outbox_depth"][()] == 1
    assert found["penstock_mqtt_connected"][()] == 0
    assert found["penstock_leader_election_master_status"][()] == 1
    assert found["penstock_build_info"]["1.2.3",] == 1


async def test_the_numbers_of_other_rooms_stand_beside_them(world: World) -> None:
    world.figures = (
        figure("reconcile_cycles", "Cycles.", 7, "counter"),
        Figure("drift_open", "Open drifts.", (((("kind", "a"),), 1.0), ((("kind", "b"),), 2.0))),
        Figure("nothing_yet", "Nothing has happened.", ()),
    )
    found = await read(world)
    assert found["penstock_reconcile_cycles_total"][()] == 7
    assert found["penstock_drift_open"] == {("a",): 1, ("b",): 2}


async def test_a_histogram_has_buckets_a_count_and_a_sum(world: World) -> None:
    world.figures = (histogram("took_seconds", "Long.", (("1.0", 2.0), ("+Inf", 3.0)), 7.5),)
    found = await read(world)
    assert found["penstock_took_seconds_bucket"] == {("1.0",): 2, ("+Inf",): 3}
    assert (found["penstock_took_seconds_count"][()], found["penstock_took_seconds_sum"][()]) == (3, 7.5)


async def test_requests_are_counted_by_route_and_never_by_what_a_client_makes_up(world: World) -> None:
    await world.announce("cam-7")
    for path in ("/streams/cam-7", "/streams/cam-8", "/made/up/1", "/made/up/2"):
        await world.client.get(path)
    await world.client.request("BREW", "/made/up/3")
    found = (await read(world))["penstock_http_requests_total"]
    assert found == {
        ("GET", "/streams/{name}", "200"): 1,
        ("GET", "/streams/{name}", "404"): 1,
        ("other", "other", "404"): 3,
    }
