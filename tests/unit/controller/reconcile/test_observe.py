import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from controller.domain.model import BootId, Command, CommandKind, Key, ProxyId, StreamId
from controller.domain.observation import Freshness
from controller.reconcile.observe import Observer
from proxy.contract import SessionSpec, Upstream
from tests.fakes.control_room import TOKEN, client_of
from tests.fakes.domain_values import NOW, session, view
from tests.fakes.mqtt import until
from tests.fakes.proxy import fake_proxy
from tests.fakes.tcp import serving

SPEC = SessionSpec(key="cam-7", upstreams=(Upstream(url="http://origin/a.ts"),))
LOST_AFTER = timedelta(seconds=30)
NOBODY = "http://127.0.0.1:9"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self):
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer_of(http, clock):
    def make(*urls: str, known=()) -> Observer:
        return Observer([client_of(http, url) for url in urls], known, lost_after=LOST_AFTER, clock=clock)

    return make


def freshness(observer: Observer) -> dict[str, Freshness]:
    return {view.proxy_id: view.freshness for view in observer.latest.proxies}


async def test_every_proxy_is_listed_with_its_sessions(observer_of, p1, p2):
    p2.inject("stream-1", SPEC, 3, 4)
    observed = await observer_of(p2.url, p1.url).observe()
    assert [(view.proxy_id, view.freshness, view.boot_id) for view in observed.proxies] == [
        ("p1", Freshness.FRESH, p1.boot_id),
        ("p2", Freshness.FRESH, p2.boot_id),
    ]
    assert [(s.key, s.stream_id, s.epoch, s.generation) for s in observed.proxies[1].sessions] == [
        ("cam-7", "stream-1", 3, 4)
    ]


async def test_a_proxy_that_does_not_answer_keeps_its_last_list(observer_of, p1, clock):
    p1.inject("stream-1", SPEC, 1, 1)
    observer = observer_of(p1.url)
    await observer.observe()
    p1.unreachable = True
    [seen] = (await observer.observe()).proxies
    assert (seen.freshness, len(seen.sessions), seen.boot_id) == (Freshness.STALE, 1, p1.boot_id)
    assert seen.error
    p1.unreachable = False
    p1.forget()
    [seen] = (await observer.observe()).proxies
    assert (seen.freshness, seen.sessions, seen.boot_id, seen.error) == (Freshness.FRESH, (), p1.boot_id, "")


async def test_it_is_lost_after_a_while_and_not_before(observer_of, http, p1):
    # Its last answer carries the time of this machine: the clock starts there.
    observer = observer_of(p1.url)
    await observer.observe()
    clock = observer._clock
    clock.now = observer.view_at(p1.url).observed_at
    p1.unreachable = True
    clock.later(29)
    assert freshness(observer) == {"p1": Freshness.FRESH}
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.STALE}
    clock.later(1)
    assert freshness(observer) == {"p1": Freshness.LOST}
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.LOST}
    p1.unreachable = False
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.FRESH}


async def test_what_an_earlier_process_saw_is_remembered_and_not_believed(observer_of, clock):
    old = view(session(), url=NOBODY, observed_at=NOW - timedelta(hours=5))
    observer = observer_of(NOBODY, known=[old])
    [seen] = (await observer.observe()).proxies
    assert (seen.proxy_id, seen.freshness, seen.sessions) == ("p1", Freshness.NEVER, (session(),))
    clock.later(29)
    assert freshness(observer) == {"p1": Freshness.NEVER}
    clock.later(1)
    # Counted from this process's start, not from what the other one saw.
    assert freshness(observer) == {"p1": Freshness.LOST}


async def test_a_remembered_proxy_whose_address_is_not_known_any_more_is_unknown_and_not_gone(observer_of, clock):
    observer = observer_of(known=[view(session(), url=NOBODY)])
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.NEVER}
    clock.later(30)
    assert freshness(observer) == {"p1": Freshness.LOST}
    assert observer.client("p1") is None
    observer.forget("p1")
    assert observer.latest.proxies == ()


async def test_a_proxy_that_was_found_at_another_address_is_there_only(observer_of, p1):
    observer = observer_of(p1.url, known=[view(session(), url=NOBODY)])
    await observer.observe()
    [seen] = observer.latest.proxies
    assert (seen.proxy_id, seen.url, seen.freshness) == ("p1", p1.url, Freshness.FRESH)


async def test_one_that_is_admitted_is_looked_at_and_one_that_is_dismissed_grows_old(observer_of, http, p1, clock):
    observer = observer_of()
    observer.admit(client := client_of(http, p1.url))
    observer.admit(client_of(http, NOBODY))
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.FRESH, NOBODY: Freshness.NEVER}
    observer.dismiss(NOBODY)
    assert freshness(observer) == {"p1": Freshness.FRESH}
    observer.dismiss(p1.url)
    await observer.observe()
    assert freshness(observer) == {"p1": Freshness.STALE}
    assert not observer.is_asked(client)
    observer.forget("p1")
    assert freshness(observer) == {}
    observer.admit(client)
    await observer.observe()
    observer.forget("p1")
    assert freshness(observer) == {"p1": Freshness.FRESH}, "it can be asked"


async def test_newcomers_are_told_of_one_by_one(observer_of, http, p1):
    observer = observer_of(NOBODY)
    told: list[str] = []

    async def listen() -> None:
        async for client in observer.newcomers():
            told.append(client.url)  # noqa: PERF401 - it is read meanwhile

    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        await until(lambda: told == [NOBODY], "the first")
        observer.admit(client_of(http, p1.url))
        await until(lambda: told == [NOBODY, p1.url], "the second")
        observer.dismiss(p1.url)
        observer.admit(client_of(http, p1.url))
        await until(lambda: told == [NOBODY, p1.url, p1.url], "one that came back")
        listening.cancel()


def stop_of(generation: int) -> Command:
    return Command(
        CommandKind.STOP, ProxyId("old"), BootId("b"), StreamId("s"), Key("cam-7"), 1, generation, None, "moved"
    )


async def test_a_stop_is_told_where_the_key_runs_at_a_higher_fence(observer_of, p1):
    observer = observer_of(p1.url)
    assert observer.successor_url(stop_of(1)) == ""
    p1.inject("s", SPEC, 1, 2)
    await observer.observe()
    assert observer.successor_url(stop_of(1)) == p1.url
    assert observer.successor_url(stop_of(2)) == "", "not a higher one"
    assert observer.successor_url(replace(stop_of(1), proxy_id=ProxyId("p1"))) == "", "it is there already"
    assert observer.successor_url(replace(stop_of(1), key=Key("other"))) == ""
    p1.unreachable = True
    await observer.observe()
    assert observer.successor_url(stop_of(1)) == "", "nobody knows whether it still runs"


async def test_one_that_never_answered_goes_by_its_address(observer_of):
    observer = observer_of(NOBODY)
    assert observer.latest.proxies == ()
    await observer.observe()
    assert freshness(observer) == {NOBODY: Freshness.NEVER}


async def test_an_id_that_is_taken_twice_proves_nothing_about_either(observer_of, p1):
    async with fake_proxy("p1", token=TOKEN) as twin:
        twin.inject("stream-1", SPEC, 1, 1)
        observer = observer_of(p1.url)
        await observer.observe()
        observer = observer_of(p1.url, twin.url)
        for _ in range(2):
            await observer.observe()
            views = observer.latest.proxies
            assert len({seen.proxy_id for seen in views}) == 2
            renamed = next(seen for seen in views if seen.proxy_id != "p1")
            assert renamed.proxy_id == f"p1@{renamed.url}"
            assert (renamed.freshness, renamed.error) == (Freshness.STALE, "its id is taken")
        assert observer.client(ProxyId("p1")).url != renamed.url
    # Its twin is gone for good, and the first is itself.
    await observer.observe()
    assert sum(seen.is_fresh for seen in observer.latest.proxies) <= 1


async def test_a_client_is_found_by_what_its_proxy_calls_itself(observer_of, p1):
    observer = observer_of(p1.url)
    assert observer.client(ProxyId("p1")) is None
    await observer.observe()
    assert observer.client(ProxyId("p1")).url == p1.url
    assert observer.client(ProxyId("p9")) is None


async def test_the_newest_list_is_kept_whoever_asked_first(observer_of, p1):
    """Two observations at once: each lists after it was asked for, one after the other."""
    observer = observer_of(p1.url)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(observer.observe()) for _ in range(2)]
        await asyncio.sleep(0)
        p1.inject("stream-1", SPEC, 1, 1)
    assert all(len(task.result().proxies[0].sessions) == 1 for task in asked)
    sequences = [task.result().proxies[0].sequence for task in asked]
    assert sequences == sorted(sequences)
    assert observer.view_at(p1.url).sequence == p1.sequence


async def test_a_proxy_that_hangs_delays_the_others_by_its_time_out_only(observer_of, http, p1, clock):
    @asynccontextmanager
    async def silent():
        async def wait(reader, writer):
            await reader.read()

        async with serving(wait) as port:
            yield f"http://127.0.0.1:{port}"

    async with silent() as url:
        clients = [client_of(http, url, list_timeout_seconds=0.1), client_of(http, p1.url)]
        observer = Observer(clients, (), lost_after=LOST_AFTER, clock=clock)
        async with asyncio.timeout(2):
            await observer.observe()
    assert freshness(observer) == {url: Freshness.NEVER, "p1": Freshness.FRESH}


async def test_what_becomes_of_a_proxy_is_logged_once(observer_of, p1):
    observer = observer_of(p1.url)
    with structlog.testing.capture_logs() as lines:
        for change in (lambda: None, lambda: setattr(p1, "unreachable", True)):
            change()
            await observer.observe()
            await observer.observe()
        p1.unreachable = False
        await observer.observe()
        p1.forget()
        await observer.observe()
    assert [line["event"] for line in lines] == [
        "proxy.reached",
        "proxy.unreachable",
        "proxy.reached",
        "proxy.restarted",
    ]
