import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import structlog

from controller.domain.model import BootId, Command, CommandKind, Key, ProxyId, StreamId
from controller.errors import DatabaseUnavailableError
from controller.reconcile.dispatcher import Dispatcher, Limits
from controller.reconcile.observe import Observer
from controller.store import counters, dialects, outbox
from controller.store.engine import Database
from tests.fakes.api_world import open_database
from tests.fakes.control_room import QUICK, SPEC, ControlRoom, client_of
from tests.fakes.domain_values import NOW, view
from tests.fakes.mqtt import until
from tests.fakes.proxy import FakeProxy
from tests.fakes.tcp import serving


def command(proxy: FakeProxy, name: str, generation: int = 1, kind: CommandKind = CommandKind.ENSURE) -> Command:
    spec = SPEC if kind is CommandKind.ENSURE else None
    boot = BootId(proxy.boot_id)
    return Command(
        kind, ProxyId(proxy.proxy_id), boot, StreamId(name), Key(f"key-{name}"), 1, generation, spec, "because"
    )


async def queue(database: Database, *commands: Command) -> None:
    def add(session) -> None:
        outbox.add(session, commands, now=dialects.db_now(session))

    await database.write(add)


async def waiting(database: Database) -> int:
    return (await database.read(outbox.backlog)).count


async def is_settled(database: Database) -> bool:
    return await waiting(database) == 0


def heard(proxy: FakeProxy) -> list[str]:
    """Return a list that fills with the commands the proxy hears."""
    said: list[str] = []
    ensure, stop = proxy.ensure, proxy.stop

    def hear_ensure(stream_id, asked):
        said.append(f"ensure {stream_id} {asked.generation}")
        return ensure(stream_id, asked)

    def hear_stop(stream_id, asked):
        said.append(f"stop {stream_id} {asked.generation}")
        return stop(stream_id, asked)

    proxy.ensure, proxy.stop = hear_ensure, hear_stop
    return said


@asynccontextmanager
async def silent():
    """A proxy that takes connections and never answers."""

    async def wait(reader, writer):
        await reader.read()

    async with serving(wait) as port:
        yield f"http://127.0.0.1:{port}"


async def test_commands_of_a_stream_arrive_in_their_order(room: ControlRoom, p1):
    said = heard(p1)
    await room.observer.observe()
    stop = CommandKind.STOP
    await queue(
        room.database,
        command(p1, "a", 1),
        command(p1, "b", 1),
        command(p1, "a", 1, stop),
        command(p1, "a", 2),
        command(p1, "b", 2),
        command(p1, "a", 2, stop),
        command(p1, "a", 3),
    )
    async with room.running(room.dispatcher.run):
        await until(lambda: is_settled(room.database), "all is sent")
    assert [line for line in said if " a " in line] == [
        "ensure a 1",
        "stop a 1",
        "ensure a 2",
        "stop a 2",
        "ensure a 3",
    ]
    assert [line for line in said if " b " in line] == ["ensure b 1", "ensure b 2"]
    assert {key: seen.generation for key, seen in p1.views.items()} == {"key-a": 3, "key-b": 2}
    assert room.dispatcher.sent == 7


async def test_an_answer_rings_its_key(room: ControlRoom, p1):
    await room.queue.take()
    await room.observer.observe()
    await queue(room.database, command(p1, "a"))
    async with asyncio.timeout(10), room.running(room.dispatcher.run):
        assert (await room.queue.take()).keys == {"key-a"}


async def test_a_proxy_that_was_never_seen_is_sent_nothing(room: ControlRoom, p1):
    said = heard(p1)
    await queue(room.database, command(p1, "a"))
    async with room.running(room.dispatcher.run):
        await asyncio.sleep(0.1)
        assert said == []
        await room.observer.observe()
        await until(lambda: said == ["ensure a 1"], "sent once it is known")


async def test_a_dead_proxy_delays_nobody_else(database, http, p1):
    async with silent() as url:
        clients = [client_of(http, url, command_timeout_seconds=30), client_of(http, p1.url)]
        dead = FakeProxy("dead")
        room = await ControlRoom.open(database, clients)
        known = [view(proxy_id=ProxyId("dead"), url=url)]
        room.observer._views |= Observer(clients, known, lost_after=timedelta(1), clock=lambda: NOW)._views
        await room.observer._refresh(clients[1])
        for number in range(20):
            await queue(database, command(dead, f"d{number}"), command(p1, f"a{number}"))
        async with asyncio.timeout(10), room.running(room.dispatcher.run):
            await until(lambda: len(p1.views) == 20, "the living proxy has all of its own")
            await until(lambda: _is_left(database, 20), "what the dead one was to do waits")


async def _is_left(database: Database, count: int) -> bool:
    return await waiting(database) == count


async def test_what_cannot_be_sent_is_tried_again_with_back_off(room: ControlRoom, p1):
    await room.observer.observe()
    p1.unreachable = True
    await queue(room.database, command(p1, "a"))
    with structlog.testing.capture_logs() as lines:
        async with room.running(room.dispatcher.run):
            await until(lambda: sum(line["event"] == "command.postponed" for line in lines) >= 3, "three attempts")
            await until(lambda: has_failed(room.database, 3), "three attempts are written down")
            p1.unreachable = False
            await until(lambda: is_settled(room.database), "sent at last")
    assert list(p1.views) == ["key-a"]
    attempts = [line["attempts"] for line in lines if line["event"] == "command.postponed"]
    assert attempts == list(range(1, len(attempts) + 1))


async def has_failed(database: Database, times: int) -> bool:
    _, [pending] = await database.read(_due_some_day)
    return pending.attempts >= times and bool(pending.error)


def _due_some_day(session):
    now = dialects.db_now(session)
    return now, outbox.due(session, now + timedelta(days=1), 10)


async def test_back_off_holds_a_command_back(room: ControlRoom, p1):
    calm = Dispatcher(
        room.database, room.observer, term=room.term, ring=room.queue.ring, limits=Limits(idle_seconds=0.01)
    )  # with the back-off of the real thing: a quarter of a second at first, shortened by half at most
    await room.observer.observe()
    p1.unreachable = True
    await queue(room.database, command(p1, "a"))
    with structlog.testing.capture_logs() as lines:
        async with room.running(calm.run):
            await until(lambda: bool(lines), "the first attempt")
            await asyncio.sleep(0.08)
    assert [line["event"] for line in lines] == ["command.postponed"]


async def test_a_later_command_waits_for_the_one_that_was_postponed(room: ControlRoom, p1):
    said = heard(p1)
    await room.observer.observe()
    p1.unreachable = True
    await queue(room.database, command(p1, "a"), command(p1, "a", 1, CommandKind.STOP))
    async with room.running(room.dispatcher.run):
        await until(lambda: _has_tried(room.database), "tried")
        p1.unreachable = False
        await until(lambda: is_settled(room.database), "sent at last")
    assert said == ["ensure a 1", "stop a 1"]
    assert p1.views == {}


async def _has_tried(database: Database) -> bool:
    _, pending = await database.read(_due_some_day)
    return pending[0].attempts > 0


async def test_a_stale_token_is_raised_above_the_highest_seen(room: ControlRoom, p1):
    """As after a restore: the database has forgotten how high it was."""
    p1.token_highest = 41
    await room.observer.observe()
    await queue(room.database, *(command(p1, f"a{number}") for number in range(12)))
    assert room.term.token < 41
    async with room.running(room.dispatcher.run):
        await until(lambda: is_settled(room.database), "sent with a higher token")
    assert len(p1.views) == 12
    assert room.term.token == p1.token_highest == 42, "raised once for all that were refused together"
    assert await room.database.read(counters.current_token) == 42


async def test_a_token_that_is_high_enough_stays(room: ControlRoom):
    token = room.term.token
    await room.term.rise_above(token)
    assert room.term.token == token


class Trouble:
    """A database that fails before the commit whose number is named: counted from 1, after it was armed."""

    def __init__(self) -> None:
        self.fails_at: set[int] = set()
        self.commits = 0

    def __call__(self, point: str) -> None:
        if point == "commit.before":
            self.commits += 1
            if self.commits in self.fails_at:
                raise DatabaseUnavailableError("pulled the plug")


@pytest.fixture
async def troubled(tmp_path, http, p1):
    trouble = Trouble()
    await (await open_database(tmp_path)).dispose()
    database = Database(f"sqlite:///{tmp_path / 'penstock.db'}", synchronous="NORMAL", failpoint=trouble)
    room = await ControlRoom.open(database, [client_of(http, p1.url)])
    yield room, trouble
    await database.dispose()


async def test_a_crash_between_sending_and_recording_does_no_harm(troubled, p1):
    room, trouble = troubled
    said = heard(p1)
    await room.observer.observe()
    await queue(room.database, command(p1, "a"), command(p1, "b", 1, CommandKind.STOP))
    trouble.fails_at = {trouble.commits + 1}
    with structlog.testing.capture_logs() as lines:
        async with room.running(room.dispatcher.run):
            await until(lambda: is_settled(room.database), "recorded in the second attempt")
    assert sorted(said) == ["ensure a 1", "ensure a 1", "stop b 1", "stop b 1"]
    assert {key: seen.generation for key, seen in p1.views.items()} == {"key-a": 1}
    outcomes = [line["outcome"] for line in lines if line["event"] == "session.ensured"]
    assert outcomes == ["started", "unchanged"]
    assert "dispatcher.database_failed" in {line["event"] for line in lines}


async def test_a_token_that_cannot_be_raised_now_is_raised_later(troubled, p1):
    """A database that fails while a token is raised ends nobody."""
    room, trouble = troubled
    p1.token_highest = 41
    await room.observer.observe()
    await queue(room.database, command(p1, "a"), command(p1, "b"))
    # The first commit postpones, the second would raise the token.
    trouble.fails_at = {trouble.commits + 2}
    async with room.running(room.dispatcher.run):
        await until(lambda: is_settled(room.database), "sent in the end")
    assert len(p1.views) == 2
    assert room.term.token > 41


async def test_a_new_process_sends_what_the_last_one_left(database, http, p1):
    """A crash between the commit and the wake-up: rows wait, and nobody rings."""
    first = await ControlRoom.open(database, [client_of(http, p1.url)])
    await first.observer.observe()
    await queue(database, command(p1, "a"))
    second = await ControlRoom.open(database, [client_of(http, p1.url)])
    await second.observer.observe()
    async with second.running(second.dispatcher.run):
        await until(lambda: is_settled(database), "sent")
    assert second.term.token > first.term.token
    assert p1.token_highest == second.term.token


async def test_it_is_woken_rather_than_found(room: ControlRoom, p1):
    lazy = Dispatcher(
        room.database,
        room.observer,
        term=room.term,
        ring=room.queue.ring,
        limits=Limits(idle_seconds=3600),
        backoff=QUICK,
    )
    await room.observer.observe()
    async with asyncio.timeout(10), room.running(lazy.run):
        await asyncio.sleep(0.05)
        await queue(room.database, command(p1, "a"))
        lazy.wake()
        await until(lambda: bool(p1.views), "sent at once")
        await until(lambda: is_settled(room.database), "recorded")
        reads = count_reads(room.database)
        await asyncio.sleep(0.05)
        assert len(reads) <= 1, "it rests until the next bell"


def count_reads(database: Database) -> list[object]:
    reads: list[object] = []
    read = database.read

    def read_and_count(work, *args, **kwargs):
        reads.append(work)
        return read(work, *args, **kwargs)

    database.read = read_and_count
    return reads


async def test_more_than_a_batch_is_sent_without_resting(room: ControlRoom, p1):
    small = Dispatcher(
        room.database,
        room.observer,
        term=room.term,
        ring=room.queue.ring,
        limits=Limits(batch_max=3, idle_seconds=3600),
    )
    await room.observer.observe()
    await queue(room.database, *(command(p1, f"a{number}") for number in range(10)))
    async with asyncio.timeout(10), room.running(small.run):
        await until(lambda: len(p1.views) == 10, "all are sent")
