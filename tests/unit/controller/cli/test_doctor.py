"""What the doctor finds, on this machine and at a controller."""

import pytest

from controller.cli import doctor

READY = {name: {"ok": True, "detail": ""} for name in ("database", "observation", "broker")}
READY |= {"is_leader": True, "leader": "one/1.2@3"}
PROXY = {"id": "local", "url": "http://127.0.0.1:8090", "freshness": "fresh", "error": ""}
HEALTHY = {"discrepancies": {"orphaned_ts_sessions": [], "missing_ts_sessions": [], "has_issues": False}}


@pytest.fixture
def healthy(api):
    api.answers["GET /healthz"] = 200, {"status": "ok", "version": "0.1.0"}
    api.answers["GET /readyz"] = 200, READY
    api.answers["GET /proxies"] = 200, {"items": [PROXY]}
    api.answers["GET /debug/sync-check"] = 200, HEALTHY
    return api


@pytest.fixture
def run(penstock, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return lambda: penstock("doctor", "--data", str(folder))


def bad(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("BAD")]


def test_all_is_well(healthy, run):
    done = run()
    assert done.exit_code == 0
    assert bad(done.stdout) == []
    assert "controller at" in done.stdout


def test_nobody_there_is_one_finding(penstock, tmp_path):
    done = penstock("--api", "http://127.0.0.1:1", "doctor", "--data", str(tmp_path / "none"))
    assert done.exit_code == 1
    assert len(bad(done.stdout)) == 1
    assert "penstock serve" in done.stdout


def test_a_lost_proxy_is_told_with_its_error(healthy, run):
    healthy.answers["GET /proxies"] = 200, {"items": [PROXY | {"freshness": "lost", "error": "401 Unauthorized"}]}
    done = run()
    assert done.exit_code == 1
    assert "401 Unauthorized" in done.stdout


def test_no_proxy_is_told(healthy, run):
    healthy.answers["GET /proxies"] = 200, {"items": []}
    assert "no proxy is known" in run().stdout


def test_not_being_ready_is_told_by_what_is_lacking(healthy, run):
    healthy.answers["GET /readyz"] = 503, READY | {"broker": {"ok": False, "detail": "connecting"}}
    assert bad(run().stdout) == ["BAD  broker: connecting"]


def test_who_leads_is_told_and_that_nobody_does(healthy, run):
    assert "ok   controller one/1.2@3 leads, and answers here" in run().stdout
    healthy.answers["GET /readyz"] = 200, READY | {"is_leader": False}
    assert "ok   controller one/1.2@3 leads\n" in run().stdout
    healthy.answers["GET /readyz"] = 200, READY | {"is_leader": False, "leader": ""}
    assert bad(run().stdout) == ["BAD  nobody leads"]


def test_drift_is_told_by_its_streams(healthy, run):
    found = {"orphaned_ts_sessions": ["cam-7"], "missing_ts_sessions": [], "has_issues": True}
    healthy.answers["GET /debug/sync-check"] = 200, {"discrepancies": found}
    [line] = bad(run().stdout)
    assert "orphaned_ts_sessions: cam-7" in line


def test_an_open_data_folder_is_told(tmp_path):
    tmp_path.chmod(0o755)
    found = {finding.what: finding.is_fine for finding in doctor.look_at_machine(tmp_path)}
    assert found[f"data folder {tmp_path} is private"] is False
    tmp_path.chmod(0o700)
    found = {finding.what: finding.is_fine for finding in doctor.look_at_machine(tmp_path)}
    assert found[f"data folder {tmp_path} is private"] is True
