"""Many worlds, one after the other or in several processes."""

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from tests.simulation import world
from tests.simulation.world import Outcome, Plot


def live(seeds: Iterable[int], jobs: int, plot: Plot | None = None) -> Iterator[Outcome]:
    """Live through the worlds of these seeds, in order."""
    return in_processes(partial(world.run, plot=plot), seeds, jobs)


def in_processes(run: Callable[[int], Outcome], seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """Run worlds, in order. Without their stories, which a replay tells again."""
    once = _Once(run)
    if jobs == 1:
        yield from map(once, seeds)
        return
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(once, seeds, chunksize=2)


@dataclass(frozen=True, slots=True)
class _Once:
    run: Callable[[int], Outcome]

    def __call__(self, seed: int) -> Outcome:
        with at_leisure():
            outcome = self.run(seed)
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
