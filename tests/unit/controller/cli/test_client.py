"""Asking the API: what is sent, how lists are read to their end, how every failure is told."""

import socket

import click
import pytest

from controller.cli.client import Api, NotReachableError, RefusedError


def test_a_token_is_shown_when_there_is_one(api):
    Api(api.url).get("/streams")
    Api(api.url, "secret").get("/streams")
    assert api.tokens == [None, "Bearer secret"]


def test_a_list_is_read_to_its_end(api):
    api.answers["GET /proxies?limit=1000"] = 200, {"items": [1, 2], "next_cursor": "c 2"}
    api.answers["GET /proxies?limit=1000&cursor=c+2"] = 200, {"items": [3], "next_cursor": None}
    assert Api(api.url).items("/proxies") == [1, 2, 3]


def test_a_body_is_sent_as_json(api):
    api.answers["POST /streams"] = 201, {"key": "a"}
    assert Api(api.url).post("/streams", {"key": "a"}) == {"key": "a"}
    assert api.bodies == [{"key": "a"}]


def test_an_answer_without_a_body_is_empty(api):
    api.answers["DELETE /viewers/1"] = 204, b""
    assert Api(api.url).delete("/viewers/1") == {}


@pytest.mark.parametrize(
    ("status", "document", "says"),
    [
        (404, {"title": "Not Found", "detail": "no stream 'x'"}, "no stream 'x' (404)"),
        (409, {"title": "Conflict", "detail": ""}, "Conflict (409)"),
        (500, {}, "refused (500)"),
        (401, {"title": "Unauthorized"}, "needs a token"),
    ],
)
def test_a_refusal_is_one_line(api, status, document, says):
    api.answers["GET /x"] = status, document
    with pytest.raises(RefusedError) as caught:
        Api(api.url).get("/x")
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1
    assert caught.value.status == status


def test_a_page_of_another_server_is_recognised(api):
    api.content_type = "text/html"
    api.answers["GET /x"] = 200, b"<html>"
    with pytest.raises(RefusedError, match="is not the API of Penstock"):
        Api(api.url).get("/x")


def test_broken_json_is_recognised(api):
    api.answers["GET /x"] = 200, b'{"a":'
    with pytest.raises(RefusedError, match="cannot be read as JSON"):
        Api(api.url).get("/x")


def test_nobody_there_is_exit_code_3():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(NotReachableError, match="Connection refused") as caught:
            Api(f"http://127.0.0.1:{port}").get("/streams")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://"])
def test_an_address_that_is_none_is_a_mistake_of_usage(url):
    with pytest.raises(click.UsageError, match="http://HOST:PORT"):
        Api(url).get("/streams")


def test_an_api_below_a_path_is_found(api):
    api.answers["GET /penstock/streams"] = 200, {"items": []}
    assert Api(f"{api.url}/penstock/").get("/streams") == {"items": []}
