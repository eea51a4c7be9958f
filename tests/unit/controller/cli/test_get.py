"""Questions: get, describe, why."""

import json
import os

import pytest
import yaml
from click.testing import CliRunner

from controller.cli import cli, tables
from controller.cli import get as questions


def test_streams_are_a_table(penstock):
    done = penstock("get", "streams")
    assert done.exit_code == 0
    title, row = done.stdout.splitlines()
    assert title.split() == ["KEY", "STATE", "FOR", "VIEWERS", "SESSIONS", "NOTE"]
    assert row.startswith("cam-7  LIVE")
    assert "local:flowing" in row
    assert row.endswith("Flowing: no bytes for 12 s")


def test_wide_shows_more(penstock):
    row = penstock("get", "streams", "-o", "wide").stdout.splitlines()[1]
    assert "http://***@cam/7.ts" in row
    assert "room=hall" in row


def test_json_and_yaml_are_what_the_api_says(penstock):
    as_json = json.loads(penstock("get", "streams", "-o", "json").stdout)
    assert as_json == yaml.safe_load(penstock("get", "streams", "-o", "yaml").stdout)
    assert as_json["items"][0]["key"] == "cam-7"


def test_what_is_asked_for_is_asked_of_the_api(penstock, api):
    penstock("get", "streams", "cam-7", "--status", "LIVE", "-l", "room=hall")
    assert api.asked == ["GET /streams?status=live&label=room%3Dhall&key=cam-7&limit=1000"]
    api.answers["GET /drift"] = 200, {"items": []}
    penstock("get", "drift", "--all")
    assert api.asked[-1] == "GET /drift?open=false&limit=1000"


def test_an_empty_list_is_none_on_stderr_and_success(penstock, api):
    api.answers["GET /drift"] = 200, {"items": [], "next_cursor": None}
    done = penstock("get", "drift")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "none\n")


def test_lists_of_other_kinds_can_be_cut_to_one_key(penstock, api):
    sessions = [{"key": "a", "proxy_id": "p"}, {"key": "b", "proxy_id": "p"}]
    api.answers["GET /sessions"] = 200, {"items": sessions}
    assert [line.split()[0] for line in penstock("get", "sessions", "b").stdout.splitlines()] == ["KEY", "b"]


@pytest.mark.parametrize(
    "arguments", [("get",), ("get", "nonsense"), ("get", "drift", "--status", "live"), ("nonsense",)]
)
def test_a_mistake_of_usage_is_exit_code_2(penstock, arguments):
    assert penstock(*arguments).exit_code == 2


def test_a_refusal_is_exit_code_1(penstock):
    done = penstock("why", "nope")
    assert done.exit_code == 1
    assert done.stderr == "Error: nothing is at /streams/nope (404)\n"


def test_describe_tells_conditions_sessions_and_history_oldest_first(penstock, api):
    moves = [
        {"at": "2", "from_state": "STARTING", "to_state": "LIVE", "event": "session_observed", "actor": "reconciler"},
        {"at": "1", "from_state": None, "to_state": "PENDING", "event": "announced", "actor": "source:a"},
    ]
    api.answers["GET /streams/01a20467-1aeb-7c0a-b90e-e153d3242505/transitions"] = 200, {"items": moves}
    text = penstock("describe", "cam-7").stdout
    assert "Fence:     epoch 12, generation 1" in text
    assert "Flowing  False" in text
    assert text.index("new -> PENDING") < text.index("STARTING -> LIVE")
    document = json.loads(penstock("describe", "cam-7", "-o", "json").stdout)
    assert document["key"] == "cam-7"
    assert len(document["transitions"]) == 2
    assert yaml.safe_load(penstock("describe", "cam-7", "-o", "yaml").stdout) == document


def test_why_is_sentences(penstock, api):
    story = {
        "sentences": [{"at": None, "text": "It plays."}, {"at": None, "text": "Two watch."}],
        "waits_for": "a proxy",
    }
    api.answers["GET /streams/01a20467-1aeb-7c0a-b90e-e153d3242505/why"] = 200, story
    assert penstock("why", "cam-7").stdout == "It plays.\nTwo watch.\nWaits for: a proxy\n"


def test_a_name_cannot_leave_its_place_in_the_path(penstock, api):
    penstock("why", "../proxies?x=1")
    assert api.asked == ["GET /streams/..%2Fproxies%3Fx%3D1"]


def test_a_token_of_the_environment_is_used(penstock, api):
    penstock("get", "streams", token="secret")
    assert api.tokens == ["Bearer secret"]


class EnoughError(Exception):
    """Ends a watch."""


def watch(looks, output: str, capsys) -> list[str]:
    pending = iter(looks)

    def look():
        found = next(pending, None)
        if found is None:
            raise EnoughError
        return found

    columns = (tables.field("KEY"), tables.field("STATE"))
    with pytest.raises(EnoughError):
        questions.follow(look, columns, "key", output, 0)
    return capsys.readouterr().out.splitlines()


def test_watching_shows_what_is_new_differs_or_has_gone(capsys):
    a, b, later = {"key": "a", "state": "LIVE"}, {"key": "b", "state": "LIVE"}, {"key": "a", "state": "ENDED"}
    shown = watch([[a], [a], [a, b], [later, b], [b]], "table", capsys)
    assert shown == ["KEY  STATE", "a    LIVE", "b    LIVE", "a    ENDED", "gone: a"]


def test_watching_as_json_is_an_object_a_line(capsys):
    shown = watch([[{"key": "a"}], [{"key": "a", "n": 1}]], "json", capsys)
    assert [json.loads(line) for line in shown] == [{"key": "a"}, {"key": "a", "n": 1}]


def test_completion_offers_keys_and_stays_silent_without_an_api(penstock, api):
    def offered(url: str) -> str:
        environment = {
            "_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock why ca", "COMP_CWORD": "2",
            "PENSTOCK_API_URL": url, "HOME": os.environ.get("HOME", "/"),
        }  # fmt: skip
        return (
            CliRunner().invoke(cli, [], env=environment, prog_name="penstock", complete_var="_PENSTOCK_COMPLETE").output
        )

    assert "cam-7" in offered(api.url)
    assert offered("http://127.0.0.1:1").strip() == ""
