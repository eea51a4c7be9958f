"""Two controllers on one database and one broker, each a process: one leads, and whatever happens to it, one leads."""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controller.store import migrate
from proxy import contract
from tests.fakes import postgres
from tests.fakes.broker import Mosquitto
from tests.fakes.controller_process import Controller, controllers
from tests.fakes.mqtt import Source, until
from tests.fakes.proxy import FakeProxy

LEASE_SECONDS = 5.0
QUICK = {"lease_seconds": str(LEASE_SECONDS), "lease_renew_seconds": "1", "resync_seconds": "60"}
"""A resync that no test waits for: what is done, is done because somebody was told."""

TOLD_SECONDS = 10.0
"""Before the followers of events would look by themselves."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'penstock.db'}"
        migrate.upgrade(address)
        yield address
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    with server.database(migrate.upgrade) as address:
        yield address


@pytest.fixture
async def fleet(tmp_path: Path, url: str, broker: Mosquitto, p1: FakeProxy) -> AsyncIterator[list[Controller]]:
    """Three controllers that nobody has started yet."""
    mqtt_url = f"mqtt://127.0.0.1:{broker.port}"
    settings = {**QUICK, "database_url": url, "mqtt_url": mqtt_url, "proxies": p1.url, "control_token": p1.token}
    async with controllers(tmp_path, "one", "two", "three", **settings) as made:
        yield made


def note_tokens(proxy: FakeProxy) -> list[tuple[str, int]]:
    """Return a list that fills with every command that the proxy carries out or refuses: (key, token)."""
    heard: list[tuple[str, int]] = []
    ensure, stop = proxy.ensure, proxy.stop

    def hear_ensure(stream_id: str, asked: contract.EnsureRequest):
        heard.append((asked.spec.key, asked.token))
        return ensure(stream_id, asked)

    def hear_stop(stream_id: str, asked: contract.StopRequest):
        heard.append((asked.key, asked.token))
        return stop(stream_id, asked)

    proxy.ensure, proxy.stop = hear_ensure, hear_stop
    return heard


async def shows(controller: Controller, **states: str) -> None:
    async def is_so() -> bool:
        return await controller.states() == states

    await until(is_so, f"{controller.name} shows {states}")


async def announce(controller: Controller, key: str) -> None:
    status, _ = await controller.ask("POST", "/streams", {"key": key, "upstreams": ["http://origin/a.ts"]})
    assert status in (200, 201, 202)


async def names(controller: Controller, leader: str) -> bool:
    return str((await controller.ready()).get("leader")).startswith(leader)


async def led(fleet: list[Controller]) -> tuple[Controller, Controller]:
    """Start two; return who leads, and who does not."""
    one, two = fleet[:2]
    await one.start()
    await until(one.leads, "one leads")
    await two.start()
    await until(two.stands_by, "two stands by")
    return one, two


async def test_one_leads_all_serve_and_each_end_of_a_leader_is_survived(
    fleet: list[Controller], broker: Mosquitto, p1: FakeProxy
):
    one, two = await led(fleet)
    source = Source(broker.port)

    # All serve: what is written through the one that stands by is carried out by the one that leads.
    await announce(two, "rest")
    await shows(two, rest="LIVE")
    async with two.following() as events:
        await source.start("kept", 1, 1)
        async with asyncio.timeout(TOLD_SECONDS):
            while b"kept" not in await events.readline():
                pass
    await source.start("ended", 1, 1)
    for controller in (one, two):
        await shows(controller, rest="LIVE", kept="LIVE", ended="LIVE")
    status, problem = await two.ask("POST", "/reconcile/run")
    assert (status, problem["detail"].startswith("controller one/")) == (409, True)
    assert (await two.ask("GET", "/reconcile/plan"))[1]["is_empty"]
    assert not (await two.ask("GET", "/debug/sync-check"))[1]["discrepancies"]["has_issues"]
    assert (await two.ready())["broker"]["detail"] == "standby"

    # kill -9: what happened while nobody led is waiting at the broker.
    generations = {key: view.generation for key, view in p1.views.items()}
    one.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    await one.wait()
    await source.end("ended", 1, 2)
    await source.start("new", 1, 1)
    await until(two.leads, "two leads")
    assert time.monotonic() - killed_at < 20
    await shows(two, rest="LIVE", kept="LIVE", new="LIVE")
    assert {key: p1.views[key].generation for key in ("rest", "kept")} == {
        key: generations[key] for key in ("rest", "kept")
    }
    assert set(p1.views) == {"rest", "kept", "new"}

    # SIGTERM: the lease is given back, and MQTT handed over.
    three = fleet[2]
    await three.start()
    await until(three.stands_by, "three stands by")
    told_at = time.monotonic()
    two.send_signal(signal.SIGTERM)
    await until(three.leads, "three leads")
    assert time.monotonic() - told_at < 3
    assert await two.wait() == 0
    await source.end("new", 1, 2)
    await shows(three, rest="LIVE", kept="LIVE")


async def stop_between_transactions(controller: Controller, url: str) -> None:
    """Stop a process where it does not hold SQLite's lock, which nobody could take from it. Postgres takes its own."""
    while True:
        controller.send_signal(signal.SIGSTOP)
        if not url.startswith("sqlite") or not is_locked(url):
            return
        controller.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.01)


def is_locked(url: str) -> bool:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.2, isolation_level=None)
    with contextlib.closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


async def test_a_leader_that_slept_through_its_lease_does_nothing_when_it_wakes(
    fleet: list[Controller], broker: Mosquitto, p1: FakeProxy, url: str
):
    one, two = await led(fleet)
    source = Source(broker.port)
    heard = note_tokens(p1)
    for key in ("kept", "ended"):
        await source.start(key, 1, 1)
    await shows(one, kept="LIVE", ended="LIVE")
    old_token = p1.token_highest

    await stop_between_transactions(one, url)
    stopped_at = time.monotonic()
    # It has work to do when it wakes: these come to it, or wait for it, at the broker and in the database.
    await source.end("ended", 1, 2)
    await announce(two, "late")
    await until(two.leads, "two leads")
    assert time.monotonic() - stopped_at > LEASE_SECONDS / 2, "not before the lease had run out"
    await shows(two, kept="LIVE", late="LIVE")
    await source.start("ended", 2, 1)
    await shows(two, kept="LIVE", late="LIVE", ended="LIVE")
    assert p1.token_highest > old_token
    generations = {key: view.generation for key, view in p1.views.items()}
    heard.clear()

    one.send_signal(signal.SIGCONT)
    await until(lambda: any(line["event"] == "leadership.ended" for line in one.events()), "one has noticed")
    await until(lambda: names(one, "two/"), "one stands by, and knows who leads")
    status, _ = await two.ask("POST", "/reconcile/run")
    assert status == 200
    for controller in (one, two):
        await shows(controller, kept="LIVE", late="LIVE", ended="LIVE")
    assert heard == [], "nobody told the proxy anything"
    assert {key: view.generation for key, view in p1.views.items()} == generations
    events = [line["event"] for line in two.events()]
    assert events.count("mqtt.connected") == 1, "nobody took the broker away from the leader"
    assert "mqtt.disconnected" not in events
