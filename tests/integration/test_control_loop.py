"""The whole loop around two proxies, on both databases: losses, orphans, and a database that was restored."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import psycopg
import pytest

from controller.domain.model import Key
from controller.domain.plan import Policy, Verb
from controller.proxy_client import http_session
from controller.store import drift, migrate
from controller.store.engine import Database
from proxy import contract
from proxy.contract import EnsureOutcome, SessionSpec, Upstream, UpstreamState
from tests.fakes import postgres
from tests.fakes.control_room import TOKEN, ControlRoom, client_of
from tests.fakes.mqtt import until
from tests.fakes.proxy import FakeProxy, fake_proxy

KEYS = [f"cam-{number}" for number in range(6)]
LOST_AFTER = timedelta(seconds=0.6)
POLICY = Policy(orphan_grace=timedelta(seconds=0.6), start_grace=timedelta(seconds=0.5))


class Place:
    """One database of this test's own, that can be copied and put back as it was."""

    def __init__(self, url: str, save: Callable[[], None], restore: Callable[[], None]) -> None:
        self.url = url
        self.save = save
        """Nobody may use it meanwhile."""
        self.restore = restore


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        file, copy = tmp_path / "penstock.db", tmp_path / "backup.db"
        migrate.upgrade(f"sqlite:///{file}")

        def restore() -> None:
            for left in tmp_path.glob("penstock.db*"):
                left.unlink()
            shutil.copy(copy, file)

        yield Place(f"sqlite:///{file}", lambda: shutil.copy(file, copy), restore)
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    with server.database(migrate.upgrade) as url:
        name = url.rpartition("/")[2]

        def execute(*statements: str) -> None:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement.encode())

        drop = f"DROP DATABASE IF EXISTS {name}_backup"
        yield Place(
            url,
            lambda: execute(drop, f"CREATE DATABASE {name}_backup TEMPLATE {name}"),
            lambda: execute(f"DROP DATABASE {name}", f"CREATE DATABASE {name} TEMPLATE {name}_backup"),
        )
        execute(drop)


@pytest.fixture
async def http():
    async with http_session() as session:
        yield session


@pytest.fixture
async def proxies():
    async with fake_proxy("p1", token=TOKEN) as one, fake_proxy("p2", token=TOKEN) as two:
        yield one, two


async def enter(place: Place, http: aiohttp.ClientSession, proxies: tuple[FakeProxy, ...]) -> ControlRoom:
    clients = [client_of(http, proxy.url) for proxy in proxies]
    return await ControlRoom.open(
        Database(place.url), clients, policy=POLICY, resync_seconds=0.1, lost_after=LOST_AFTER
    )


@pytest.fixture
async def room(place: Place, http, proxies):
    opened = await enter(place, http, proxies)
    yield opened
    await opened.database.dispose()


async def all_are(room: ControlRoom, state: str, keys=KEYS) -> bool:
    return {await room.state(key) for key in keys} == {state}


def note_stops(proxy: FakeProxy, look: Callable[[str], object]) -> list[tuple[str, object]]:
    """Return a list that fills with what ``look`` sees for a key just before a stop takes its session away."""
    noted: list[tuple[str, object]] = []
    stop = proxy.stop

    def stop_and_note(stream_id, asked):
        runs = proxy.views.get(asked.key)
        if runs is not None and (runs.epoch, runs.generation) <= (asked.epoch, asked.generation):
            noted.append((asked.key, look(asked.key)))
        return stop(stream_id, asked)

    proxy.stop = stop_and_note
    return noted


def note_refusals(proxy: FakeProxy) -> list[str]:
    """Return a list that fills with the key of every start that the proxy refuses for a higher fence."""
    noted: list[str] = []
    ensure = proxy.ensure

    def ensure_and_note(stream_id, asked):
        outcome, held = ensure(stream_id, asked)
        if outcome is EnsureOutcome.NEWER_EXISTS:
            noted.append(asked.spec.key)
        return outcome, held

    proxy.ensure = ensure_and_note
    return noted


async def test_streams_of_a_lost_proxy_move_and_what_it_kept_is_stopped_afterwards(room: ControlRoom, proxies):
    p1, p2 = proxies
    for key in KEYS:
        await room.announce(key)
    async with room.running():
        await until(lambda: all_are(room, "LIVE"), "all are LIVE")
        assert (len(p1.views), len(p2.views)) == (3, 3)
        ids = {key: (await room.run_of(key)).stream.id for key in KEYS}
        moved, stayed = set(p1.views), dict(p2.views)

        p1.unreachable = True
        await until(lambda: set(p2.views) == set(KEYS), "the streams of the lost proxy run on the other")
        await until(lambda: all_are(room, "LIVE"), "all are LIVE again")
        assert {key: p2.views[key] for key in stayed} == stayed, "nobody else was touched"
        for key in moved:
            assert p2.views[key].generation > p1.views[key].generation

        stops = note_stops(p1, lambda key: key in p2.views)
        p1.unreachable = False
        await until(lambda: not p1.views, "what ran twice is stopped where it was lost")
        assert sorted(stops) == sorted((key, True) for key in moved)
        await until(lambda: _has_one_placement(room), "one placement each")
    assert set(p2.views) == set(KEYS)
    assert {key: (await room.run_of(key)).stream.id for key in KEYS} == ids


async def test_the_old_session_plays_until_the_new_one_was_seen(room: ControlRoom, proxies):
    """The proxy is back before its replacement could start: nothing is stopped for a promise."""
    p1, p2 = proxies
    for key in KEYS:
        await room.announce(key)
    async with room.running():
        await until(lambda: all_are(room, "LIVE"), "all are LIVE")
        moved = set(p1.views)
        stops = note_stops(p1, lambda key: key in p2.views)
        control = p2.control

        def refuse_to_start(method, *asked):
            if method == "PUT":
                return 503, contract.Problem(title="not now", status=503)
            return control(method, *asked)

        p2.control = refuse_to_start
        p1.unreachable = True
        await until(lambda: _are_placed_on(room, moved, "p2"), "moved, as far as the database goes")
        p1.unreachable = False
        done = room.reconciler.cycles
        await until(lambda: room.reconciler.cycles > done + 5, "both were looked at")
        assert (set(p1.views), stops) == (moved, [])
        p2.control = control
        await until(lambda: not p1.views, "stopped, now")
    assert sorted(stops) == sorted((key, True) for key in moved)
    assert set(p2.views) == set(KEYS)


async def _are_placed_on(room: ControlRoom, keys: set[str], proxy_id: str) -> bool:
    return all([max((await room.run_of(key)).wanted, key=lambda p: p.generation).proxy_id == proxy_id for key in keys])


async def _has_one_placement(room: ControlRoom) -> bool:
    return all([len((await room.run_of(key)).placements) == 1 for key in KEYS])


async def test_a_proxy_that_is_back_in_time_loses_nothing(place, http, proxies):
    p1, p2 = proxies
    room = await enter(place, http, proxies)
    room.observer._lost_after = timedelta(hours=1)
    for key in KEYS:
        await room.announce(key)
    async with room.running():
        await until(lambda: all_are(room, "LIVE"), "all are LIVE")
        before = dict(p1.views), dict(p2.views)
        p1.unreachable = True
        done = room.reconciler.cycles
        await until(lambda: room.reconciler.cycles > done + 5, "looked at it, several times")
        p1.unreachable = False
        done = room.reconciler.cycles
        await until(lambda: room.reconciler.cycles > done + 5, "looked at it again")
        assert (p1.views, p2.views) == before
        assert await all_are(room, "LIVE")
    await room.database.dispose()


async def test_a_session_that_nobody_ordered_is_held_and_then_stopped(room: ControlRoom, proxies):
    p1, _ = proxies
    async with room.running():
        await until(lambda: room.reconciler.cycles > 2, "it runs")
        p1.inject("unknown", SessionSpec(key="cam-x", upstreams=(Upstream(url="http://origin/x"),)), 1, 1)
        await until(lambda: _open_drift(room, Verb.HOLD), "held, and said so")
        assert "cam-x" in p1.views
        await until(lambda: "cam-x" not in p1.views, "stopped after its grace")
        await until(lambda: _is_repaired(room), "the drift is told as repaired")
    [entry] = (await room.database.read(drift.page, open_only=False)).items
    assert (entry.drift.kind, entry.action) == ("orphan_unknown", Verb.STOP)
    assert entry.looks >= 2
    assert entry.repaired_at - entry.first_seen >= POLICY.orphan_grace


async def _open_drift(room: ControlRoom, verb: Verb) -> bool:
    return any(entry.action is verb for entry in (await room.database.read(drift.page, open_only=True)).items)


async def _is_repaired(room: ControlRoom) -> bool:
    return not (await room.database.read(drift.page, open_only=True)).items


async def test_a_restored_database_goes_on_above_what_the_proxies_know(place: Place, http):
    """Its generations, its token and its streams are of yesterday; the proxies and their tombstones are of today."""
    async with fake_proxy("p1", token=TOKEN) as p1:
        early = await enter(place, http, (p1,))
        for key in ("ended", "plays"):
            await early.announce(key)
        async with early.running():
            await until(lambda: all_are(early, "LIVE", ["ended", "plays"]), "all are LIVE")
        await early.database.dispose()
        place.save()

        for number in range(3):
            late = await enter(place, http, (p1,))
            async with late.running():
                p1.forget()
                await until(lambda: {"ended", "plays"} <= set(p1.views), "both run in the new boot")
                await until(lambda late=late: all_are(late, "LIVE", ["ended", "plays"]), "all are LIVE")
                if number == 2:
                    await late.announce("new")
                    await until(lambda late=late: all_are(late, "LIVE", ["new"]), "one more")
                    await late.end("ended")
                    await until(lambda late=late: all_are(late, "CLOSED", ["ended"]), "one less")
            await late.database.dispose()
        token, grave, playing = p1.token_highest, p1.graves["ended"], p1.views["plays"].generation

        place.restore()
        stops = note_stops(p1, lambda key: p1.views[key].generation)
        refused = note_refusals(p1)
        room = await enter(place, http, (p1,))
        assert room.term.token < token
        assert (await room.run_of("plays")).stream.generation < playing
        await room.announce("new")
        async with room.running():
            # To this database it plays still: its generations go on above the tombstone of the stop it forgot.
            await until(lambda: "ended" in p1.views, "placed above its tombstone")
            await until(lambda: all_are(room, "LIVE", ["ended", "plays", "new"]), "all are LIVE")
            await until(lambda: _runs_as_placed(room, p1), "every session is the one that its stream placed")
        assert (1, p1.views["ended"].generation) > grave
        assert refused == ["ended"], "told once how high to go"
        assert p1.views["plays"].generation >= playing
        assert p1.token_highest == room.term.token > token
        assert not [key for key, _ in stops if key == "plays"], "what played was taken over, not stopped"
        await room.database.dispose()


async def _runs_as_placed(room: ControlRoom, proxy: FakeProxy) -> bool:
    for key, session in proxy.views.items():
        run = await room.run_of(Key(key))
        placed = [(p.stream_id, p.generation) for p in run.placements]
        if placed != [(session.stream_id, session.generation)]:
            return False
    return True


async def test_a_crash_of_the_controller_moves_nothing(place: Place, http, proxies):
    """Another process takes over what the last one left half done, and what runs goes on running."""
    p1, p2 = proxies
    first = await enter(place, http, proxies)
    for key in KEYS:
        await first.announce(key)
    async with first.running():
        await until(lambda: all_are(first, "LIVE"), "all are LIVE")
    await first.end(KEYS[0])
    await first.database.dispose()
    before = {key: view for key, view in (p1.views | p2.views).items() if key != KEYS[0]}
    for proxy in proxies:
        for key in proxy.views:
            proxy.flow(key, UpstreamState.FLOWING, delivered=True)
    running = {key: view.generation for key, view in before.items()}

    second = await enter(place, http, proxies)
    async with second.running():
        await until(lambda: all_are(second, "CLOSED", KEYS[:1]), "the end that was left behind is carried out")
        await until(lambda: second.reconciler.cycles > 3, "it has looked around")
    assert {key: view.generation for key, view in (p1.views | p2.views).items()} == running
    await second.database.dispose()
