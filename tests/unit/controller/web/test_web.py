"""The page is served with its headers, and takes nothing of the API's paths."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller import web
from controller.store.engine import Database
from tests.fakes.api_world import World, open_database
from tests.fakes.asgi import Client


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Penstock</title>")
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "index-abc123.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(tmp_path)
    yield opened
    await opened.dispose()


@pytest.fixture
def client(database: Database, static: Path) -> Client:
    return World(database, pages=web.routes(static)).client


async def test_the_index_is_at_the_root_and_asked_about_each_time(client: Client) -> None:
    answer = await client.get("/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get("/", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert (await client.get("/", if_none_match='"other"')).status == 200


async def test_assets_may_be_kept_for_ever(client: Client) -> None:
    answer = await client.get("/assets/index-abc123.js")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await client.get("/favicon.svg")).headers["cache-control"] == "no-cache"


async def test_no_script_is_allowed_inline_or_from_elsewhere(client: Client) -> None:
    policy = dict(part.split(" ", 1) for part in (await client.get("/")).headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in " ".join(policy.values())
    assert "blob:" in policy["worker-src"]


@pytest.mark.parametrize("path", ["/assets/../../secret.txt", "/secret.txt", "/assets/none.js", "/..%2fsecret.txt"])
async def test_nothing_else_of_the_disk_is_served(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_the_page_takes_nothing_of_the_api(client: Client) -> None:
    assert (await client.get("/streams")).json() == {"items": [], "next_cursor": None}
    refused = await client.post("/")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert "/" not in (await client.get("/openapi.json")).json()["paths"]


async def test_a_build_without_the_page_says_so(database: Database, tmp_path: Path) -> None:
    client = World(database, pages=web.routes(tmp_path / "none")).client
    answer = await client.get("/")
    assert answer.status == 200
    assert b"not part of this build" in answer.body
