"""The whole application: every document is as described, and every error is a problem document."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from controller.api.application import ROOMS
from controller.domain.events import MessageRefused, StatsReported
from controller.domain.model import ANONYMOUS, Block, Key, Output, Reason
from controller.domain.observation import Viewer
from controller.domain.plan import Action, Drift, DriftKind, Plan, Verb
from controller.store import approvals, blocks, plans
from controller.store.engine import Database
from tests.fakes.api_world import P1, World, session_of
from tests.fakes.asgi import Client

MODELS = {
    route.path: route.response_model
    for room in ROOMS
    for route in room.router.routes
    if isinstance(route, APIRoute) and "GET" in route.methods
}
DOCUMENTS = [path for path, model in MODELS.items() if model is not None]
OPERATIONS = [
    (method, route.path)
    for room in ROOMS
    for route in room.router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
]


@pytest.fixture
async def full_world(world: World) -> World:
    """Something in every list."""
    run = await world.play("cam-7", viewers_ts=2, bitrate_bps=8_000_000)
    ended = await world.play("cam-8")
    await world.client.delete("/streams/cam-8")
    await world.announce("cam-9", labels=(("name", "Nine"),))
    world.viewers[P1] = [
        Viewer("v1", P1, run.stream.id, run.stream.key, Output.TS, "192.0.2.1", "VLC", 3.0, 10, 0, 26, 0)
    ]
    await world.record(
        MessageRefused("penstock/v1/x", b"\xff\x00", 2, "not JSON"),
        StatsReported(ANONYMOUS, Key("cam-7"), (("fps", 25.0),)),
    )
    await world.database.write(approvals.give, "0123456789ab", owner="bob", why="")
    held = Block(Key("cam-9"), run.stream.id, Reason.LOOP_DETECTED, "again", world.now, world.now + timedelta(hours=1))
    await world.database.write(blocks.add, [held])
    await world.client.put("/streams/cam-7/pause", {"for_seconds": 60, "owner": "bob"})
    found = Drift(DriftKind.STUCK_STOPPING, "cam-8", ended.stream.id, "p1", 1, "still listed 9 s after its stop")
    action = Action(Verb.RESEND, "cam-8", ended.stream.id, "p1", 1, "still listed after its stop", found)
    world.planned = Plan((action,))
    await world.database.write(
        plans.save, world.planned, world.observed, keys=None, now=world.now, token=1, duration_seconds=0.1
    )
    return world


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_every_document_is_as_described(full_world: World, path: str) -> None:
    answer = await full_world.client.get(path.replace("{name}", "cam-7"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    # Every field that is described is there, and none beside them.
    TypeAdapter(MODELS[path]).validate_json(answer.body, extra="forbid")
    found = answer.json()
    if "next_cursor" in found:
        assert found["items"], "an empty list describes nothing"


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path not in ("/healthz", "/readyz", "/debug/sync-check")]
)
async def test_every_list_has_items_and_a_cursor(full_world: World, path: str) -> None:
    found = (await full_world.client.get(path.replace("{name}", "cam-7"))).json()
    is_one_thing = path in ("/streams/{name}", "/streams/{name}/why", "/reconcile/breaker")
    assert ("items" in found and "next_cursor" in found) is not is_one_thing


async def test_nothing_at_a_path_is_a_problem(client: Client) -> None:
    answer = await client.get("/nope")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "nothing is at /nope",
        "instance": "/nope",
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/streams", "GET, POST"),
        ("POST", "/streams/cam-7", "DELETE, GET"),
        ("DELETE", "/watch/cam-7", "GET, HEAD"),
        ("GET", "/reconcile/run", "POST"),
    ],
)
async def test_a_method_that_is_not_possible_names_those_that_are(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
    assert answer.headers["content-type"] == "application/problem+json"


BAD_REQUESTS = [
    ("/streams?limit=0", "query.limit"),
    ("/streams?limit=1001", "query.limit"),
    ("/streams?limit=many", "query.limit"),
    ("/streams?status=gone", "query.status"),
    ("/streams?key=%00", "query.key"),
    ("/streams?label=nameless", "query.label"),
    ("/streams?label=n=%00", "query.label"),
    ("/streams?label=%5B=x", "query.label"),
    ("/streams?cursor=nonsense", "cursor"),
    ("/streams?cursor=%00", "query.cursor"),
    ("/streams/%20", "path.name"),
    ("/streams/cam-7%00", "path.name"),
    ("/events?cursor=x", "cursor"),
    ("/events?cursor=99999999999999999999", "cursor"),
    ("/events?after=-1", "query.after"),
    ("/drift?open=perhaps", "query.open"),
    ("/debug/sync-check?live=perhaps", "query.live"),
    ("/watch/cam-7?output=avi", "query.output"),
    ("/watch/-", "path.key"),
    ("/reconcile?limit=-1", "query.limit"),
]


@pytest.mark.parametrize(("path", "place"), BAD_REQUESTS, ids=[path for path, _ in BAD_REQUESTS])
async def test_what_cannot_be_understood_is_a_400_that_says_where(client: Client, path: str, place: str) -> None:
    answer = await client.get(path)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:penstock:problem:invalid"
    assert place in answer.json()["detail"]


async def test_a_database_that_is_away_is_a_503_with_an_advice(client: Client, database: Database) -> None:
    await database.dispose()
    answer = await client.get("/streams")
    assert answer.status == 503
    assert answer.headers["retry-after"]
    assert answer.json()["type"] == "urn:penstock:problem:database_unavailable"


async def test_a_fault_of_ours_is_a_500_that_tells_no_secrets(world: World) -> None:
    world.run_error = RuntimeError("secret-in-a-traceback")
    # The framework answers, then raises it again for the server's log.
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    client = world.client
    with pytest.raises(RuntimeError, match="secret"):
        await client.app(client._scope("POST", "/reconcile/run", b"", {}), _no_body, send)
    assert answers[0]["status"] == 500
    assert dict(answers[0]["headers"])[b"content-type"] == b"application/problem+json"
    assert b"secret" not in answers[1]["body"]


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_the_openapi_document_promises_what_is_answered(world: World) -> None:
    document = world.app.openapi()
    assert document["openapi"] == "3.1.0"
    operations = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert operations == {(method, path) for method, path in OPERATIONS if method != "HEAD"}
    ids = [found["operationId"] for paths in document["paths"].values() for found in paths.values()]
    assert len(set(ids)) == len(ids)
    for paths in document["paths"].values():
        for method, operation in paths.items():
            assert "422" not in operation["responses"]
            assert ("security" in operation) == (method != "get")
            assert operation["summary"]


def test_every_reference_of_the_openapi_document_leads_somewhere(world: World) -> None:
    document = world.app.openapi()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    used: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            used.update(value for name, value in node.items() if name == "$ref")
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    assert used == known


async def test_a_session_without_a_placement_is_shown_beside_its_stream(world: World) -> None:
    run = await world.play("cam-7")
    world.show(session_of(run, generation=9))
    shown = (await world.client.get("/streams/cam-7")).json()["sessions"]
    assert [(s["generation"], s["placement_state"], s["state"]) for s in shown] == [
        (9, None, "flowing"),
        (1, "observed", "flowing"),
    ]
