"""Every number that other rooms count has a name, and is there before anything has happened."""

import pytest

from controller import figures
from controller.domain.plan import DriftKind, GateKind
from tests.fakes.api_world import open_database
from tests.fakes.control_room import ControlRoom


@pytest.fixture
async def room(tmp_path):
    database = await open_database(tmp_path)
    yield await ControlRoom.open(database, ())
    await database.dispose()


def by_name(found) -> dict:
    return {one.name: one for one in found}


async def test_the_loop_has_a_sample_for_every_word_it_may_count(room):
    await room.full()
    found = by_name(figures.of_loop(room.reconciler, room.dispatcher))
    assert dict(found["reconcile"].samples) == {
        (("result", "success"),): 1.0,
        (("result", "requeue"),): 0.0,
        (("result", "requeue_after"),): 0.0,
        (("result", "error"),): 0.0,
    }
    assert {pairs[0][1] for pairs, _ in found["drift_detected"].samples} == set(DriftKind)
    assert {pairs[0][1] for pairs, _ in found["drift_held"].samples} == set(GateKind)
    assert (("kind", "orphan_unknown"), ("class", "N")) in dict(found["drift_repaired"].samples)
    assert found["reconcile_time_seconds"].samples[-1] == ((("le", "+Inf"),), 1.0)
    assert found["breaker_open"].samples == (((), False),)


async def test_the_queue_tells_how_long_things_wait(room):
    room.queue.ring(["cam-7", "cam-8"])
    room.queue.ring(["cam-7"])
    found = by_name(figures.of_queue(room.queue))
    assert (found["workqueue_depth"].samples, found["workqueue_adds"].samples) == ((((), 2),), (((), 2),))
    assert found["workqueue_unfinished_work_seconds"].samples == (((), 0.0),)
    await room.queue.take()
    found = by_name(figures.of_queue(room.queue))
    assert found["workqueue_queue_duration_seconds"].samples[-1][1] == 1.0
    assert found["workqueue_longest_running_processor_seconds"].samples[0][1] > 0
