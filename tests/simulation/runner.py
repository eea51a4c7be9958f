"""Many worlds, one after the other or in several processes."""

import gc
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

from tests.simulation import world
from tests.simulation.world import Outcome


def live(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """Live through the worlds of these seeds, in order. Without their stories, which a replay tells again."""
    if jobs == 1:
        yield from map(live_once, seeds)
        return
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(live_once, seeds, chunksize=4)


def live_once(seed: int) -> Outcome:
    gc.disable()
    try:
        outcome = world.run(seed)
    finally:
        gc.enable()
    gc.collect(0)
    outcome.story = None
    return outcome
