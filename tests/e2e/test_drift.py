"""Drift made by hand is seen, repaired and explained."""

import asyncio
import os
import signal
import sqlite3

import pytest

from tests.fakes import machine as machines
from tests.fakes.machine import until

CYCLES_SECONDS = 2.0
"""Two full cycles of a station."""

GRACE_SECONDS = 2.0


@pytest.fixture
async def playing(station):
    """A station that runs one demo stream."""
    await station.publish("streams/cam/started", {"upstreams": ["demo:"], "on_demand": False})
    await until(lambda: _flows(station, "cam"), 10)
    return station


async def _flows(station, key: str) -> bool:
    condition = await station.condition(key, "Flowing")
    return condition is not None and condition["status"] == "True"


async def _sessions(station) -> dict[str, dict[str, object]]:
    listed = await station.control("GET", "/sessions")
    return {session["key"]: session for session in listed["sessions"]}


async def _has_issues(station) -> bool:
    return (await station.sync_check(live=True))["discrepancies"]["has_issues"]


async def _healthy(station, count: int = 1) -> bool:
    return not await _has_issues(station) and len(await _sessions(station)) == count


async def _drift(station, kind: str) -> dict[str, object] | None:
    items = (await station.get("/drift?open=false"))["items"]
    return next((item for item in items if item["kind"] == kind), None)


def _logged(station, event: str, kind: str) -> dict[str, object]:
    line = next(line for line in station.log() if line["event"] == event and line["kind"] == kind)
    assert line["evidence"]
    assert line["action"]
    return line


@pytest.mark.slow
async def test_a_session_started_behind_the_controllers_back_is_held_then_stopped(playing):
    boot = (await playing.control("GET", "/sessions"))["boot_id"]
    body = {"epoch": 1, "generation": 1, "boot_id": boot, "token": 10**6}
    body["spec"] = {"key": "smuggled", "upstreams": [{"url": "demo:"}], "on_demand": False}
    answer = await playing.control("PUT", "/sessions/unknown-stream", json=body)
    assert answer["outcome"] == "started"
    assert await _has_issues(playing)
    await until(lambda: _healthy(playing), GRACE_SECONDS + CYCLES_SECONDS + 1)
    assert set(await _sessions(playing)) == {"cam"}
    held = _logged(playing, "drift.held", "orphan_unknown")
    assert held["gate"]
    assert _logged(playing, "drift.repaired", "orphan_unknown")["action"] == "stop"
    drift = await until(lambda: _drift(playing, "orphan_unknown"))
    await until(lambda: _repaired(playing, "orphan_unknown"))
    assert drift["drift_class"] == "N"


async def _repaired(station, kind: str) -> bool:
    drift = await _drift(station, kind)
    return drift is not None and drift["repaired_at"] is not None


@pytest.mark.slow
async def test_a_session_killed_behind_the_controllers_back_is_started_again(playing):
    listed = await playing.control("GET", "/sessions")
    session = listed["sessions"][0]
    query = {name: str(session[name]) for name in ("key", "epoch", "generation")}
    query |= {"boot_id": listed["boot_id"], "token": str(10**6)}
    answer = await playing.control("DELETE", f"/sessions/{session['stream_id']}", params=query)
    assert answer["outcome"] == "stopped"
    await until(lambda: _healthy(playing), CYCLES_SECONDS + 1)
    again = (await _sessions(playing))["cam"]
    assert again["generation"] > session["generation"]
    assert again["stream_id"] == session["stream_id"]
    _logged(playing, "drift.repaired", "missing_session")
    assert (await _drift(playing, "missing_session"))["drift_class"] == "A"
    await until(lambda: _is_live(playing, "cam"))


async def _is_live(station, key: str) -> bool:
    return await station.state(key) == "LIVE"


@pytest.mark.slow
async def test_a_proxy_that_is_killed_comes_back_with_its_sessions(playing):
    before = (await _sessions(playing))["cam"]
    killed = playing.kill("penstock proxy")
    await until(lambda: _runs_anew(playing, before), 15)
    assert playing.processes()["penstock proxy"].pid != killed
    await until(lambda: _is_live(playing, "cam"))
    await until(lambda: _healthy(playing))
    _logged(playing, "drift.repaired", "missing_session")


async def _runs_anew(station, before: dict[str, object]) -> bool:
    try:
        session = (await _sessions(station)).get("cam")
    except OSError:
        return False
    return session is not None and session["generation"] > before["generation"]


@pytest.mark.slow
async def test_a_controller_killed_between_commit_and_stop_stops_the_session_when_it_is_back(playing):
    proxy, controller = playing.processes()["penstock proxy"], playing.processes()["penstock controller"]
    # A proxy that is frozen answers nothing: the end is committed, and its stop cannot have been carried out.
    proxy.send_signal(signal.SIGSTOP)
    try:
        await playing.publish("streams/cam/ended", {})
        await until(lambda: _row(playing, "cam") == "ENDED")
        controller.send_signal(signal.SIGKILL)
    finally:
        await asyncio.sleep(0.2)
        proxy.send_signal(signal.SIGCONT)
    await until(lambda: _closed(playing), 20)
    assert await _sessions(playing) == {}
    assert playing.processes()["penstock controller"].pid != controller.pid


def _row(station, key: str) -> str:
    with sqlite3.connect(station.data / "penstock.db", timeout=5) as database:
        return database.execute("SELECT state FROM streams WHERE key = ? ORDER BY epoch DESC", (key,)).fetchone()[0]


async def _closed(station) -> bool:
    try:
        return await station.state("cam") == "CLOSED"
    except OSError:
        return False


def _execute(station, statement: str) -> None:
    with sqlite3.connect(station.data / "penstock.db", timeout=5) as database:
        assert database.execute(statement).rowcount > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "kind", "state", "sessions"),
    [
        pytest.param(
            "UPDATE streams SET state = 'ENDED', version = version + 1, reason = 'operator_stopped',"
            " outcome = 'completed', ended_at = created_at WHERE key = 'cam'",
            "placement_not_stopping",
            "CLOSED",
            0,
            id="a stream ended by hand is stopped",
        ),
        pytest.param(
            "UPDATE streams SET state = 'CLOSED', version = version + 1, reason = 'operator_stopped',"
            " outcome = 'completed', ended_at = created_at, closed_at = created_at WHERE key = 'cam'",
            "placement_not_stopping",
            "CLOSED",
            0,
            id="a stream closed by hand is stopped",
        ),
        pytest.param(
            "DELETE FROM placements", "orphan_generation", "LIVE", 1, id="a placement deleted by hand is taken over"
        ),
        pytest.param(
            "UPDATE streams SET state = 'PENDING', version = version + 1 WHERE key = 'cam'",
            None,
            "LIVE",
            1,
            id="a stream set back by hand is seen to be live",
        ),
    ],
)
async def test_a_row_changed_by_hand_is_brought_in_line(playing, statement, kind, state, sessions):
    _execute(playing, statement)
    await until(lambda: _in_line(playing, state, sessions), GRACE_SECONDS + 2 * CYCLES_SECONDS + 1)
    await until(lambda: _healthy(playing, sessions))
    if kind is not None and kind != "orphan_generation":
        _logged(playing, "drift.repaired", kind)


async def _in_line(station, state: str, sessions: int) -> bool:
    return await station.state("cam") == state and len(await _sessions(station)) == sessions


@pytest.mark.slow
async def test_an_unreachable_proxy_is_unknown_and_nothing_is_killed(playing):
    before = (await _sessions(playing))["cam"]
    proxy = playing.processes()["penstock proxy"]
    os.kill(proxy.pid, signal.SIGSTOP)
    try:
        await until(lambda: _flowing_status(playing, "Unknown"), 15)
        assert (await playing.sync_check())["discrepancies"]["orphaned_ts_sessions"] == []
        await until(lambda: _missing(playing), 10)
    finally:
        os.kill(proxy.pid, signal.SIGCONT)
    await until(lambda: _flows(playing, "cam"), 15)
    after = (await _sessions(playing))["cam"]
    assert (after["stream_id"], after["generation"]) == (before["stream_id"], before["generation"])
    assert not await _has_issues(playing)


async def _missing(station) -> bool:
    return (await station.sync_check())["discrepancies"]["missing_ts_sessions"] == ["cam"]


async def _flowing_status(station, status: str) -> bool:
    condition = await station.condition("cam", "Flowing")
    return condition is not None and condition["status"] == status


@pytest.mark.slow
async def test_serve_restarts_what_dies_and_names_its_processes(tmp_path):
    async with machines.machine(tmp_path) as machine:
        assert set(machine.processes()) >= {"penstock controller", "penstock proxy", "penstock broker"}
        for name in ("penstock controller", "penstock proxy", "penstock broker"):
            killed = machine.kill(name)
            await until(lambda name=name, killed=killed: _is_new(machine, name, killed), 15)
        await until(machine._is_ready, 20)


def _is_new(machine, name: str, killed: int) -> bool:
    process = machine.processes().get(name)
    return process is not None and process.pid != killed
