"""Commands that change something, and the plan."""

import click
import pytest

from controller.cli.act import read_wishes

ACTION = {
    "verb": "place", "key": "cam-7", "stream_id": "s", "proxy_id": "local", "generation": 2, "why": "no placement",
    "drift_kind": None, "gate": "",
}  # fmt: skip


CALM = {"digest": "", "breaker": {"is_open": False, "opened_at": None, "cause": ""}}


def test_stop_asks_for_exactly_that_run(penstock, api):
    api.answers["DELETE /streams/01a20467-1aeb-7c0a-b90e-e153d3242505"] = 202, {"key": "cam-7", "state": "ENDED"}
    done = penstock("stop", "cam-7", "--yes")
    assert (done.exit_code, done.stdout) == (0, "cam-7: ENDED\n")
    assert api.asked[-1] == "DELETE /streams/01a20467-1aeb-7c0a-b90e-e153d3242505"


def test_stop_does_nothing_when_nobody_can_be_asked(penstock, api):
    done = penstock("stop", "cam-7")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert not [asked for asked in api.asked if asked.startswith("DELETE")]


def test_stop_of_several_stops_none_when_one_is_unknown(penstock, api):
    assert penstock("stop", "-y", "cam-7", "nope").exit_code == 1
    assert not [asked for asked in api.asked if asked.startswith("DELETE")]


def test_kick_ends_exactly_these_viewers(penstock, api):
    api.answers["DELETE /viewers/3f2a"] = 204, b""
    done = penstock("kick", "3f2a")
    assert (done.exit_code, done.stdout) == (0, "3f2a: ended\n")
    done = penstock("kick", "../streams/cam-7")
    assert done.exit_code == 1
    assert api.asked[-1] == "DELETE /viewers/..%2Fstreams%2Fcam-7"


def test_unblock_names_the_key(penstock, api):
    api.answers["DELETE /blocks/cam-7"] = 204, b""
    done = penstock("unblock", "cam-7")
    assert (done.exit_code, done.stdout) == (0, "cam-7: may start again\n")
    assert penstock("unblock", "cam-8").exit_code == 1


def test_apply_announces_every_stream_of_a_file(penstock, api, tmp_path):
    api.answers["POST /streams"] = 201, {"key": "a", "state": "PENDING"}
    file = tmp_path / "streams.yaml"
    file.write_text("streams:\n- {key: a, upstreams: ['http://a']}\n- {key: b, upstreams: ['http://b']}\n")
    done = penstock("apply", "-f", str(file))
    assert (done.exit_code, done.stdout) == (0, "a: PENDING\n" * 2)
    assert [body["key"] for body in api.bodies] == ["a", "b"]


def test_apply_reads_standard_input(penstock, api):
    api.answers["POST /streams"] = 201, {"key": "a", "state": "PENDING"}
    assert penstock("apply", "-f", "-", stdin='{"key": "a", "upstreams": ["http://a"]}').exit_code == 0
    assert api.bodies == [{"key": "a", "upstreams": ["http://a"]}]


@pytest.mark.parametrize(
    "text",
    ["{key: a, upstreams: [u]}", "[{key: a, upstreams: [u]}]", "streams: [{key: a, upstreams: [u]}]",
     "items: [{key: a, upstreams: [u]}]", "---\n---\nkey: a\nupstreams: [u]\n"],
    ids=["one", "a list", "streams", "items", "documents"],
)  # fmt: skip
def test_a_file_may_be_written_in_several_ways(text):
    assert read_wishes(text) == [{"key": "a", "upstreams": ["u"]}]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "holds no stream"), ("streams: []", "holds no stream"), ("key: a", "lacks"), ("just text", "lacks"),
     ("{", "not YAML"), ("streams: 3", "lacks"), ("- key: a\n  upstreams: [u]\n- 3", "stream 2")],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_before_anything_is_sent(text, says):
    with pytest.raises(click.UsageError, match=says) as caught:
        read_wishes(text)
    assert "\n" not in caught.value.message


def test_a_plan_is_a_table_or_a_word(penstock, api):
    api.answers["GET /reconcile/plan"] = 200, CALM | {"items": [ACTION], "is_empty": False}
    assert penstock("plan").stdout.splitlines()[1].split() == [
        "place", "cam-7", "local", "2", "-", "-", "no", "placement",
    ]  # fmt: skip
    api.answers["GET /reconcile/plan"] = 200, CALM | {"items": [], "is_empty": True}
    assert penstock("plan").stdout == "Nothing to do: what runs is what should run.\n"
    assert penstock("plan", "-o", "json").stdout.split() == ["{", '"items":', "[]", "}"]


def test_reconcile_shows_what_the_cycle_did(penstock, api):
    api.answers["POST /reconcile/run"] = 200, {"cycle": {"actions": [ACTION], "error": ""}}
    assert "cam-7" in penstock("reconcile").stdout
    api.answers["POST /reconcile/run"] = 200, {"cycle": None}
    assert penstock("reconcile").stdout.startswith("Nothing had to be done")


def test_a_cycle_that_failed_is_exit_code_1(penstock, api):
    api.answers["POST /reconcile/run"] = 200, {"cycle": {"actions": [], "error": "database is locked"}}
    done = penstock("reconcile")
    assert (done.exit_code, done.stderr) == (1, "Error: the cycle failed: database is locked\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(penstock, shell):
    script = penstock("completion", shell).stdout
    assert "_PENSTOCK_COMPLETE" in script
    assert "penstock" in script


def test_a_plan_says_what_to_approve(penstock, api):
    opened = {"is_open": True, "opened_at": "2026-03-01T00:00:00Z", "cause": "40 of 40 sessions"}
    api.answers["GET /reconcile/plan"] = 200, {"items": [], "is_empty": True, "digest": "0123", "breaker": opened}
    told = penstock("plan").stdout.splitlines()
    assert told[-2:] == [
        "The breaker is open since 2026-03-01T00:00:00Z: 40 of 40 sessions.",
        "To have done what is held for want of evidence: penstock approve 0123",
    ]
    assert "breaker" not in penstock("plan", "-o", "json").stdout


def test_an_approval_names_a_digest_and_an_owner(penstock, api):
    api.answers["POST /reconcile/approvals"] = 201, {"owner": "bob", "expires_at": "2026-03-01T00:15:00Z"}
    done = penstock("approve", "0123", "--owner", "bob")
    assert (done.exit_code, done.stdout) == (0, "0123: approved by bob until 2026-03-01T00:15:00Z\n")
    assert api.bodies == [{"digest": "0123", "owner": "bob", "why": ""}]
