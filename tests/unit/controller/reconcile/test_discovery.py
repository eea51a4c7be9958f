import asyncio

import pytest
import structlog

from controller.domain.observation import Freshness
from controller.reconcile import discovery
from controller.reconcile.discovery import Discovery, Name
from controller.reconcile.observe import Observer
from tests.fakes.control_room import ControlRoom, client_of
from tests.fakes.mqtt import until

NAME, OTHER = Name("proxies.internal", 8090), Name("more.internal", 8090)


class Dns:
    """Answers with what a test writes into it; with an error, raises it."""

    def __init__(self) -> None:
        self.answers: dict[Name, list[str] | OSError] = {}

    async def resolve(self, name: Name) -> list[str]:
        answer = self.answers.get(name, OSError("no such name"))
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def dns() -> Dns:
    return Dns()


@pytest.fixture
async def observer(database, http) -> Observer:
    return (await ControlRoom.open(database, [])).observer


@pytest.fixture
def find(dns: Dns, observer: Observer, http):
    changes: list[int] = []
    made = Discovery(
        [NAME, OTHER],
        observer,
        build=lambda url: client_of(http, url),
        changed=lambda: changes.append(1),
        interval_seconds=0.01,
        resolve=dns.resolve,
    )
    made.changes = changes
    return made


async def test_every_address_is_a_proxy(dns: Dns, observer: Observer, find):
    dns.answers[NAME] = ["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.1"]
    await find.look()
    assert set(observer.clients) == {"http://10.0.0.1:8090", "http://10.0.0.2:8090", "http://[fd00::1]:8090"}
    assert len(find.changes) == 1
    await find.look()
    assert len(find.changes) == 1, "nothing new"


async def test_an_address_that_left_is_asked_no_more_and_one_that_another_name_has_is(
    dns: Dns, observer: Observer, find
):
    dns.answers = {NAME: ["10.0.0.1", "10.0.0.2"], OTHER: ["10.0.0.2"]}
    await find.look()
    kept = observer.clients["http://10.0.0.2:8090"]
    dns.answers[NAME] = []
    await find.look()
    assert observer.clients == {"http://10.0.0.2:8090": kept}


async def test_dns_that_does_not_answer_changes_nothing(dns: Dns, observer: Observer, find, monkeypatch):
    dns.answers[NAME] = ["10.0.0.1"]
    await find.look()
    with structlog.testing.capture_logs() as lines:
        dns.answers[NAME] = OSError("server failure")
        await find.look()
        monkeypatch.setattr(discovery, "ANSWER_SECONDS", 0.01)
        find._resolve = lambda _name: asyncio.sleep(60)
        await find.look()
    assert set(observer.clients) == {"http://10.0.0.1:8090"}
    assert {line["error"] for line in lines} == {"no such name", "server failure", "no answer in time"}


async def test_a_proxy_is_found_while_the_loop_runs_and_missed_when_its_name_goes(database, http, p1, dns: Dns):
    room = await ControlRoom.open(database, [])
    host, port = p1.url.removeprefix("http://").split(":")
    name = Name("proxies.internal", int(port))
    found = Discovery(
        [name],
        room.observer,
        build=lambda url: client_of(http, url),
        changed=room.queue.ring_all,
        interval_seconds=0.02,
        resolve=dns.resolve,
    )
    await room.announce("cam-7")
    async with room.running(room.reconciler.run, room.dispatcher.run, room.watchers.run, found.run):
        await asyncio.sleep(0.05)
        assert await room.state("cam-7") == "PENDING"
        dns.answers[name] = [host]
        await until(lambda: is_live(room), "LIVE")
        dns.answers[name] = []
        await until(lambda: [v.freshness for v in room.observer.latest.proxies] == [Freshness.STALE], "unknown now")
        generation = p1.views["cam-7"].generation
        dns.answers[name] = [host]
        await until(lambda: [v.freshness for v in room.observer.latest.proxies] == [Freshness.FRESH], "known again")
        await room.full()
    assert p1.views["cam-7"].generation == generation, "nothing was moved meanwhile"
    assert await is_live(room)


async def is_live(room: ControlRoom) -> bool:
    return await room.state("cam-7") == "LIVE"


async def test_the_resolver_of_the_system_is_asked():
    assert "127.0.0.1" in await discovery.resolve_name(Name("localhost", 8090))
    with pytest.raises(OSError, match=r"\w"):
        await discovery.resolve_name(Name("no-such-host.invalid", 8090))
