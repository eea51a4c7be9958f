"""Who may change something, and what every answer carries."""

import pytest
from fastapi.routing import APIRoute

from controller.api.application import ROOMS
from controller.api.security import BODY_BYTES_MAX
from controller.store.engine import Database
from tests.fakes.api_world import World
from tests.fakes.asgi import Client

TOKEN = "a-long-secret"
CAM = {"key": "cam-7", "upstreams": ["http://origin/a.ts"]}
OPERATIONS = [
    (
        method,
        route.path.replace("{name}", "cam-7")
        .replace("{key}", "cam-7")
        .replace("{viewer_id}", "v1")
        .replace("{proxy_id}", "p1"),
    )
    for room in ROOMS
    for route in room.router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
CHANGES = [operation for operation in OPERATIONS if operation[0] not in ("GET", "HEAD")]
READS = [operation for operation in OPERATIONS if operation[0] in ("GET", "HEAD")]


@pytest.fixture
def guarded(database: Database) -> World:
    return World(database, token=TOKEN)


def test_there_is_something_to_guard() -> None:
    assert len(CHANGES) >= 18
    assert len(READS) > 20


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
async def test_a_change_without_the_token_is_refused(
    guarded: World, method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = await guarded.client.request(method, path, body=b'{"key":"cam-7"}', headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["content-type"] == "application/problem+json"
    assert TOKEN.encode() not in answer.body


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_change_with_the_token_is_let_through(guarded: World, method: str, path: str) -> None:
    client = Client(guarded.app, host="penstock.example", token=TOKEN)
    answer = await client.request(method, path, body=b"{}")
    assert answer.status not in (401, 403)


@pytest.mark.parametrize(("method", "path"), READS)
async def test_reading_needs_no_token(guarded: World, method: str, path: str) -> None:
    answer = await guarded.client.request(method, path)
    assert answer.status not in (401, 403)


async def test_a_method_nobody_thought_of_is_a_change(guarded: World) -> None:
    assert (await guarded.client.request("PURGE", "/streams")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example"},
        {"host": "evil.example:8080"},
        {"host": "localhost.evil.example"},
        {"host": "[bad"},
    ],
)
async def test_an_open_api_takes_no_change_from_pages_of_other_sites(world: World, headers: dict[str, str]) -> None:
    answer = await world.client.request("POST", "/streams", body=b"{}", headers=headers)
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:8080"},
        {"host": "[::1]:8080"},
        {"host": "localhost:8080", "origin": "http://localhost:8080"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_an_open_api_takes_changes_from_this_machine(world: World, headers: dict[str, str]) -> None:
    assert (await world.client.post("/streams", CAM, **headers)).status == 201


async def test_no_other_site_may_read_answers(world: World) -> None:
    answer = await world.client.request("OPTIONS", "/streams", headers={"origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    answer = await world.client.get("/streams", origin="http://evil.example")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/streams", "/nope", "/streams?limit=0", "/openapi.json", "/healthz"])
async def test_every_answer_carries_the_headers(client: Client, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(client: Client) -> None:
    answer = await client.request("POST", "/streams", body=b"{}", headers={"content-length": str(BODY_BYTES_MAX + 1)})
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_too_large_without_saying_so_is_refused_as_well(client: Client) -> None:
    body = b'{"key":"' + b"x" * BODY_BYTES_MAX + b'"}'
    answer = await client.request("POST", "/streams", body=body, headers={"content-length": ""})
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_within_the_limit_is_read(client: Client) -> None:
    answer = await client.post("/streams", CAM | {"unknown": "x" * (BODY_BYTES_MAX - 200)})
    assert answer.status == 201
