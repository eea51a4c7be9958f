"""What is built for a term, and what is left of it when the term is over."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from controller import leader as leader_module
from controller.domain.events import BirthReported, SourceReported, StreamAnnounced
from controller.domain.model import Cause, ConditionType, Key, SourceId, StreamId
from controller.domain.plan import Policy
from controller.errors import LeaseLostError
from controller.ingest import outgoing
from controller.ingest.connection import Link
from controller.ingest.subscriber import Pace
from controller.ingest.topics import Rules
from controller.leader import Leader, Means
from controller.reconcile.housekeeping import Retention
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue, Look
from controller.store import record, streams
from tests.fakes.api_world import open_database
from tests.fakes.control_room import lead
from tests.fakes.domain_values import SPEC
from tests.fakes.mqtt import until

PILLARS = {"reconciler", "dispatcher", "subscriber", "follower", "housekeeper", "births"}


def announced() -> StreamAnnounced:
    return StreamAnnounced(SourceId("enc-1"), Key("cam-7"), SPEC, Cause("source:enc-1", "test"), boot_id="boot-1")


@pytest.fixture
async def means(tmp_path: Path):
    database = await open_database(tmp_path)
    told: list[frozenset[Key]] = []
    made = Means(
        database=database,
        observer=Observer([], (), lost_after=timedelta(seconds=30), clock=lambda: datetime.now(UTC)),
        queue=KeyQueue(time.monotonic, resync_seconds=lambda: 1000.0),
        policy=Policy(),
        retention=Retention(timedelta(days=1), 1000),
        link=Link("127.0.0.1", 1, "test"),
        rules=Rules(),
        pace=Pace(),
        new_id=lambda: StreamId("s1"),
        tell=lambda keys: told.append(frozenset(keys)),
    )
    yield made, told
    await database.dispose()


async def test_a_leader_looks_at_everything_first(means):
    made, _ = means
    leader = Leader(await lead(made.database), made)
    await made.queue.take()
    assert set(leader.pillars()) == PILLARS
    assert (await made.queue.take()).is_full
    assert (await leader.reconciler.cycle(Look(None))).is_empty


async def test_once_its_term_is_over_it_changes_nothing_and_plans_still(means):
    made, _ = means
    leader = Leader(await lead(made.database), made)
    leader.term.end()
    assert (await leader.reconciler.plan_now()).is_empty
    with pytest.raises(LeaseLostError):
        await leader.reconciler.cycle(Look(None))


async def test_what_was_done_here_is_told_and_what_was_heard_of_is_not_told_again(means):
    made, told = means
    leader = Leader(await lead(made.database), made)
    await made.queue.take()
    leader.wake([Key("cam-7")])
    assert told == [frozenset({Key("cam-7")})]
    assert (await made.queue.take()).keys == {Key("cam-7")}
    leader.hear([Key("cam-8")])
    assert (await made.queue.take()).keys == {Key("cam-8")}
    leader.hear(None)
    assert (await made.queue.take()).is_full
    assert len(told) == 1
    leader.ask_for_births([SourceId("enc-1")])
    assert len(leader.outbox) == 1


async def test_its_figures_begin_at_zero(means):
    made, _ = means
    figures = {one.name: one.samples[0][1] for one in Leader(await lead(made.database), made).figures()}
    assert figures["commands_answered"] == figures["mqtt_received"] == figures["mqtt_batches"] == 0


@pytest.mark.looptime
async def test_sources_are_asked_for_births_without_a_reason_and_one_after_the_other(means):
    made, _ = means
    leader = Leader(await lead(made.database), made)
    for number in range(4):
        reported = SourceReported(SourceId(f"enc-{number}"), "boot-1", True, Cause(f"source:enc-{number}", "test"))
        await made.database.write(record.record_now, [reported], new_id=made.new_id)
    loop, asked = asyncio.get_running_loop(), []
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(leader.pillars()["births"](), name="births")
        for _ in range(4):
            entry = await leader.outbox.take()
            asked.append((entry.message.topic.split("/")[-2], loop.time() - began))
        asking.cancel()
    assert [topic for topic, _ in asked] == ["enc-0", "enc-1", "enc-2", "enc-3"]
    assert [at for _, at in asked] == pytest.approx([150, 300, 450, 600], abs=1)


@pytest.mark.looptime
async def test_a_source_that_answers_no_more_is_reported_and_so_is_that_it_answers_again(means, monkeypatch):
    monkeypatch.setattr(outgoing, "BIRTH_SPACING_SECONDS", 0.0)  # the outbox goes by the clock of the machine
    made, told = means
    leader = Leader(await lead(made.database), made)
    source, cause = SourceId("enc-1"), Cause("source:enc-1", "test")

    async def bear(number: int, *, is_answer: bool) -> None:
        birth = BirthReported(source, "boot-1", (announced(),), cause, number, is_answer)
        await made.database.write(record.record_now, [birth], new_id=made.new_id)

    async def look() -> tuple[set[str], str]:
        planned = await leader.reconciler.cycle(Look(None))
        [known] = (await made.database.read(streams.page)).items
        found = {action.drift.evidence for action in planned.actions if action.drift is not None}
        return found, known.stream.condition(ConditionType.SOURCE_ONLINE).reason

    await bear(1, is_answer=True)
    began, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(leader.pillars()["births"](), name="births")
        for _ in range(3):
            leader._requests.count(outgoing.asked(await leader.outbox.take()))
            assert await look() == (set(), "Announced")
        await leader.outbox.take()
        asking.cancel()
    assert loop.time() - began == pytest.approx(4 * leader_module.BIRTHS_SECONDS, abs=5)
    [evidence], reason = await look()
    assert evidence.startswith("source enc-1 is connected and does not answer requests for a birth; the last came at ")
    assert reason == "Silent"
    assert frozenset({Key("cam-7")}) in told
    await bear(2, is_answer=False)
    assert await look() == (set(), "HeardAgain")


async def test_a_database_that_is_away_ends_no_term_for_that(means, monkeypatch):
    made, _ = means
    monkeypatch.setattr(leader_module, "BIRTHS_SECONDS", 0.01)
    leader = Leader(await lead(made.database), made)
    await made.database.dispose()
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            asking = group.create_task(leader.pillars()["births"](), name="births")
            await until(lambda: len(lines) > 1, "tried twice")
            asking.cancel()
    assert {line["event"] for line in lines} == {"births.not_asked"}
