"""Many worlds, one after the other or in several processes."""

import gc
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    with at_leisure():
        outcome = world.run(seed)
    outcome.story = None
    return outcome


@contextmanager
def at_leisure() -> Iterator[None]:
    """Look for garbage between worlds only."""
    gc.disable()
    try:
        with warnings.catch_warnings():
            # A process that is killed leaves coroutines that never began.
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
            gc.collect(1)
    finally:
        gc.enable()
