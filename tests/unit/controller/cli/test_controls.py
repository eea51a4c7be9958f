"""Pauses and modes, as they are typed."""

import click
import pytest

from controller.cli.controls import Span, path_of

HELD = {"owner": "bob", "expires_at": "2026-03-01T12:10:00Z"}


@pytest.mark.parametrize(
    ("typed", "path", "name"),
    [
        (("cam-7",), "/streams/cam-7", "cam-7"),
        (("--proxy", "p/1"), "/proxies/p%2F1", "proxy p/1"),
        (("--all",), "/reconcile", "everything"),
    ],
    ids=["a key", "a proxy", "everything"],
)
def test_a_pause_is_set_with_its_owner_and_ended(penstock, api, typed, path, name):
    api.answers[f"PUT {path}/pause"] = 200, HELD
    api.answers[f"DELETE {path}/pause"] = 204, b""
    done = penstock("pause", *typed, "--for", "10m", "--owner", "bob", "--why", "works")
    assert (done.exit_code, done.stdout) == (0, f"{name}: paused by bob until 2026-03-01T12:10:00Z\n")
    assert api.bodies == [{"for_seconds": 600.0, "owner": "bob", "why": "works"}]
    assert penstock("resume", *typed).stdout == f"{name}: not paused any more\n"
    assert api.asked == [f"PUT {path}/pause", f"DELETE {path}/pause"]


def test_a_mode_is_set_and_unset(penstock, api):
    api.answers["PUT /reconcile/mode"] = 200, HELD
    api.answers["DELETE /reconcile/mode"] = 204, b""
    assert penstock("mode", "observe", "--all", "--owner", "bob").stdout == "everything: mode observe\n"
    assert api.bodies == [{"mode": "observe", "for_seconds": None, "owner": "bob", "why": ""}]
    assert penstock("mode", "unset", "--all").stdout == "everything: mode unset\n"


def test_the_owner_is_whoever_types(penstock, api, monkeypatch):
    monkeypatch.setenv("LOGNAME", "carol")
    api.answers["PUT /reconcile/pause"] = 200, HELD
    assert penstock("pause", "--all", "--for", "60").exit_code == 0
    assert api.bodies[0]["owner"] == "carol"


@pytest.mark.parametrize("typed", [(), ("cam-7", "--all"), ("--all", "--proxy", "p1")], ids=["nothing", "two", "both"])
def test_one_target_has_to_be_named(penstock, api, typed):
    done = penstock("pause", *typed, "--for", "60")
    assert (done.exit_code, api.asked) == (2, [])
    with pytest.raises(click.UsageError):
        path_of("cam-7", "p1", everything=False)


@pytest.mark.parametrize(("typed", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_times_are_typed_as_people_write_them(typed, seconds):
    assert Span().convert(typed, None, None) == seconds


@pytest.mark.parametrize("typed", ["", "soon", "10 m", "-5", "5w"])
def test_what_is_no_time_is_refused(typed):
    with pytest.raises(click.BadParameter):
        Span().convert(typed, None, None)


def test_what_holds_is_listed(penstock, api):
    held = {"scope": "stream", "subject": "cam-7", "name": "pause", "value": "", "owner": "bob", "why": "works"}
    api.answers["GET /reconcile/controls"] = 200, {"items": [held | {"expires_at": None}], "next_cursor": None}
    assert "stream  cam-7  pause    -     bob" in penstock("get", "controls").stdout


def test_a_proxy_is_drained_and_taken_back(penstock, api):
    api.answers["POST /proxies/p1/drain"] = 200, HELD
    api.answers["DELETE /proxies/p1/drain"] = 204, b""
    assert "proxy p1: is being drained" in penstock("drain", "p1", "--owner", "bob", "--why", "works").stdout
    assert api.bodies == [{"owner": "bob", "why": "works"}]
    assert penstock("drain", "p1", "--end").stdout == "proxy p1: takes streams again\n"


def test_a_proxy_is_said_to_be_gone_by_who_is_sure(penstock, api):
    api.answers["POST /proxies/p1/decommission"] = 200, HELD
    api.answers["DELETE /proxies/p1/decommission"] = 204, b""
    assert penstock("decommission", "p1", stdin="n\n").exit_code == 1
    assert api.asked == []
    assert penstock("decommission", "p1", "--yes").exit_code == 0
    assert penstock("decommission", "p1", "--undo").stdout == "proxy p1: is reckoned with again\n"
    assert api.asked == ["POST /proxies/p1/decommission", "DELETE /proxies/p1/decommission"]
