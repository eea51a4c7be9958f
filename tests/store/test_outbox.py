from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from controller.domain.model import (
    Change,
    Command,
    CommandKind,
    Key,
    PlacementState,
    ProxyId,
    Reply,
    ReplyOutcome,
    Run,
    State,
    StreamId,
)
from controller.domain.retry import Backoff
from controller.store import outbox, replies, streams, tables
from controller.store.engine import Database
from controller.store.outbox import Backlog
from controller.store.replies import Answered, Unanswered
from tests.fakes.domain_values import BOOT, ID, KEY, NOW, P1, P2, SPEC, later, placement, run


def command(
    name: str = "a", kind: CommandKind = CommandKind.STOP, generation: int = 1, proxy_id: ProxyId = P1
) -> Command:
    spec = SPEC if kind is CommandKind.ENSURE else None
    return Command(kind, proxy_id, BOOT, StreamId(name), Key(f"key-{name}"), 1, generation, spec, "because")


async def due(database: Database, seconds: float = 0, limit: int = 100, proxy_id: ProxyId | None = None) -> list[str]:
    found = await database.read(outbox.due, later(seconds), limit, proxy_id)
    return [f"{p.command.kind} {p.command.stream_id}{p.command.generation} {p.command.proxy_id}" for p in found]


async def ids(database: Database) -> list[int]:
    def read(session: Session) -> list[int]:
        return list(session.execute(select(tables.outbox.c.id).order_by(tables.outbox.c.id)).scalars())

    return await database.read(read)


async def test_commands_come_back_as_they_were(database: Database) -> None:
    given = [command("a", CommandKind.ENSURE), command("b")]
    await database.write(outbox.add, given, now=NOW)
    found = await database.read(outbox.due, NOW, 10)
    assert [pending.command for pending in found] == given
    assert [(p.created_at, p.not_before, p.attempts, p.error) for p in found] == [(NOW, NOW, 0, "")] * 2
    assert found[0].id < found[1].id


async def test_of_a_stream_only_the_first_is_due_at_a_proxy(database: Database) -> None:
    given = [command("a"), command("a", CommandKind.ENSURE, 2), command("b"), command("a", generation=3, proxy_id=P2)]
    await database.write(outbox.add, given, now=NOW)
    assert await due(database) == ["stop a1 p1", "stop b1 p1", "stop a3 p2"]
    assert await due(database, proxy_id=P2) == ["stop a3 p2"]
    first, *_ = await ids(database)
    await database.write(outbox.settle, {first: "stopped"}, now=NOW)
    assert await due(database) == ["ensure a2 p1", "stop b1 p1", "stop a3 p2"]


async def test_a_postponed_command_holds_up_those_behind_it(database: Database) -> None:
    await database.write(outbox.add, [command("a"), command("a", CommandKind.ENSURE, 2)], now=NOW)
    [pending] = await database.read(outbox.due, NOW, 10)
    await database.write(outbox.postpone, [(pending, later(5), "no answer")])
    assert await due(database, 4) == []
    assert await due(database, 5) == ["stop a1 p1"]
    [again] = await database.read(outbox.due, later(5), 10)
    assert (again.attempts, again.error, again.not_before) == (1, "no answer", later(5))


async def test_the_limit_takes_the_oldest(database: Database) -> None:
    await database.write(outbox.add, [command("a"), command("b"), command("c")], now=NOW)
    assert await due(database, limit=2) == ["stop a1 p1", "stop b1 p1"]


async def test_settling_twice_keeps_the_first_outcome(database: Database) -> None:
    def outcome(session: Session) -> str | None:
        found: str | None = session.execute(select(tables.outbox.c.outcome)).scalar_one()
        return found

    await database.write(outbox.add, [command()], now=NOW)
    [number] = await ids(database)
    await database.write(outbox.settle, {number: "stopped"}, now=NOW)
    await database.write(outbox.settle, {number: "not_found"}, now=later(1))
    assert await database.read(outcome) == "stopped"


async def test_pending_and_backlog(database: Database) -> None:
    assert await database.read(outbox.backlog) == Backlog(0, None)
    await database.write(outbox.add, [command("a")], now=NOW)
    await database.write(outbox.add, [command("b", generation=4)], now=later(1))
    assert await database.read(outbox.backlog) == Backlog(2, NOW)
    assert await database.read(outbox.pending) == {("a", 1, P1), ("b", 4, P1)}
    assert await database.read(outbox.pending, [Key("key-b")]) == {("b", 4, P1)}
    assert await database.read(outbox.pending, []) == frozenset()
    first, _ = await ids(database)
    await database.write(outbox.settle, {first: "stopped"}, now=later(2))
    assert await database.read(outbox.backlog) == Backlog(1, later(1))


async def test_a_command_that_was_sent_many_times_is_told_of(database: Database) -> None:
    await database.write(outbox.add, [command("a"), command("b")], now=NOW)
    pending, other = await database.read(outbox.due, NOW, 10)
    many = replace(pending, attempts=outbox.STUCK_ATTEMPTS - 1)
    again = [(many, later(5), "no answer"), (replace(other, attempts=outbox.STUCK_ATTEMPTS - 2), later(5), "no answer")]
    await database.write(outbox.postpone, again)
    [found] = await database.read(outbox.stuck)
    assert (found.stream_id, found.proxy_id, found.kind) == ("a", P1, CommandKind.STOP)
    assert (found.attempts, found.error) == (outbox.STUCK_ATTEMPTS, "no answer")
    assert (await database.read(streams.desired)).stuck == (found,)
    assert await database.read(outbox.stuck, [Key("key-b")]) == ()
    await database.write(outbox.settle, {pending.id: "stopped"}, now=later(6))
    assert await database.read(outbox.stuck) == ()


async def test_pruning_takes_only_what_is_settled(database: Database) -> None:
    await database.write(outbox.add, [command("a"), command("b"), command("c")], now=NOW)
    first, second, third = await ids(database)
    await database.write(outbox.settle, {first: "stopped"}, now=later(1))
    await database.write(outbox.settle, {second: "stopped"}, now=later(100))
    assert await database.write(outbox.prune, settled_before=later(50)) == 1
    assert await ids(database) == [second, third]


async def test_ids_are_never_used_twice(database: Database) -> None:
    await database.write(outbox.add, [command("a")], now=NOW)
    [first] = await ids(database)
    await database.write(outbox.settle, {first: "stopped"}, now=NOW)
    await database.write(outbox.prune, settled_before=later(1))
    await database.write(outbox.add, [command("b")], now=NOW)
    [second] = await ids(database)
    assert second > first


class TestOvertaken:
    async def place(self, database: Database, state: PlacementState) -> None:
        gone_at = NOW if state is PlacementState.GONE else None
        value = run(State.LIVE, placement(state, gone_at=gone_at))
        await database.write(streams.save, [Change(value, is_new=True, placements=value.placements)], now=NOW)

    @pytest.mark.parametrize(
        ("state", "kind", "dropped"),
        [
            (PlacementState.REQUESTED, CommandKind.ENSURE, 0),
            (PlacementState.OBSERVED, CommandKind.ENSURE, 0),
            (PlacementState.STOPPING, CommandKind.ENSURE, 1),
            (PlacementState.GONE, CommandKind.ENSURE, 1),
            (PlacementState.STOPPING, CommandKind.STOP, 0),
            (PlacementState.GONE, CommandKind.STOP, 1),
        ],
    )
    async def test_by_its_placement(
        self, database: Database, state: PlacementState, kind: CommandKind, dropped: int
    ) -> None:
        await self.place(database, state)
        order = replace(command(kind=kind), stream_id=ID, key=KEY)
        await database.write(outbox.add, [order], now=NOW)
        assert await database.write(outbox.drop_overtaken, now=NOW) == dropped
        assert len(await due(database)) == 1 - dropped

    async def test_by_the_same_command_again(self, database: Database) -> None:
        given = [command("a"), command("a"), command("a", generation=2), command("a", proxy_id=P2), command("b")]
        await database.write(outbox.add, given, now=NOW)
        assert await database.write(outbox.drop_overtaken, now=NOW) == 1
        first, second, *_ = await ids(database)
        found = await database.read(outbox.due, NOW, 10)
        assert first not in [pending.id for pending in found]
        assert second in [pending.id for pending in found]

    async def test_a_stop_of_a_session_without_a_run_stays(self, database: Database) -> None:
        await database.write(outbox.add, [command("stranger")], now=NOW)
        assert await database.write(outbox.drop_overtaken, now=NOW) == 0


class TestReplies:
    backoff = Backoff()

    @pytest.fixture(autouse=True)
    async def _rows(self, database: Database) -> None:
        value = run(State.ENDED, placement(PlacementState.STOPPING))
        stop = replace(command(), stream_id=ID, key=KEY)
        change = Change(value, is_new=True, placements=value.placements, commands=(stop,))
        await database.write(streams.save, [change], now=NOW)

    def reply(self, outcome: ReplyOutcome = ReplyOutcome.STOPPED) -> Reply:
        return Reply(outcome, BOOT, sequence=12, token_highest=3)

    async def loaded(self, database: Database) -> Run:
        found = await database.read(streams.find, ID)
        assert found is not None
        return found

    async def test_an_answer_is_kept_with_the_placement_and_settles_the_command(self, database: Database) -> None:
        [pending] = await database.read(outbox.due, NOW, 10)
        keys = await database.write(replies.record, [Answered(pending, self.reply())], [], backoff=self.backoff)
        assert keys == {KEY}
        [kept] = (await self.loaded(database)).placements
        assert (kept.reply_sequence, kept.stop_replied, kept.state) == (12, True, PlacementState.STOPPING)
        assert await database.read(outbox.pending) == frozenset()

    async def test_a_command_without_an_answer_waits(self, database: Database) -> None:
        [pending] = await database.read(outbox.due, NOW, 10)
        late = Unanswered(pending, "timed out", timedelta(seconds=3))
        assert await database.write(replies.record, [], [late], backoff=self.backoff) == frozenset()
        assert await database.read(outbox.pending) == {(ID, 1, P1)}
        now, found = await database.read(outbox.read_due, 10, P1)
        assert found == ()
        [again] = await database.read(outbox.due, now + timedelta(seconds=4), 10)
        assert (again.attempts, again.error) == (1, "timed out")

    async def test_an_answer_about_a_session_of_no_run_is_only_settled(self, database: Database) -> None:
        await database.write(outbox.add, [command("stranger")], now=NOW)
        found = await database.read(outbox.due, NOW, 10)
        stranger = next(p for p in found if p.command.stream_id == "stranger")
        before = await self.loaded(database)
        await database.write(replies.record, [Answered(stranger, self.reply())], [], backoff=self.backoff)
        assert await database.read(outbox.pending) == {(ID, 1, P1)}
        assert await self.loaded(database) == before


async def test_a_row_that_another_version_wrote_is_refused_by_the_schema(database: Database) -> None:
    def write(session: Session) -> None:
        session.execute(insert(tables.outbox).values(kind="restart"))

    with pytest.raises(Exception, match="constraint"):
        await database.write(write)
