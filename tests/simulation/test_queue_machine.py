"""The queue of the loop against a model that only knows what is owed, in virtual time and with bells while it waits."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.domain.model import Key
from controller.reconcile.queue import REST_SECONDS_MAX, KeyQueue, Look
from tests.simulation.clock import VirtualLoop

RESYNC, SPACING, KEYS_MAX = 10.0, 0.05, 4

keys = st.sets(st.sampled_from([Key(name) for name in "abcdef"]), max_size=6)
delays = st.sampled_from([0.0, 0.0, 0.02, 0.5, 3.0, 20.0])
seconds = st.sampled_from([0.01, 0.05, 0.3, 2.0, 11.0])


class Bells(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.queue = KeyQueue(self.loop.time, resync_seconds=lambda: RESYNC, spacing_seconds=SPACING, keys_max=KEYS_MAX)
        self.owed: dict[Key, float] = {}
        self.all_owed = 0.0
        """When a look at everything is owed."""
        self.taken_at = self.not_before = float("-inf")
        self.is_out = False
        """Whether a look was taken that is not done: who comes for the next has done it."""

    @rule(named=keys, after=delays)
    def ring(self, named: set[Key], after: float) -> None:
        self.queue.ring(named, after)
        self._owe(named, after)

    def _owe(self, named: set[Key], after: float) -> None:
        for key in named:
            self.owed[key] = min(self.owed.get(key, float("inf")), self.loop.time() + after)
        if len(self.owed) > KEYS_MAX:
            # Their bells become one, for everything, and the earliest wins as it does for a key.
            self.all_owed = min(self.all_owed, *self.owed.values())
            self.owed = {}

    @rule(after=delays)
    def ring_all(self, after: float) -> None:
        self.queue.ring_all(after)
        self._owe_all(after)

    def _owe_all(self, after: float) -> None:
        self.all_owed = min(self.all_owed, self.loop.time() + after)

    @rule(look=st.one_of(st.none(), keys), after=delays)
    def fail(self, look: set[Key] | None, after: float) -> None:
        """What could not be done is asked for again."""
        self.queue.ring_again(Look(None if look is None else frozenset(look)), after)
        if look is None:
            self._owe_all(after)
        else:
            self._owe(look, after)

    @rule(seconds=seconds)
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until(asyncio.sleep(seconds))

    @rule(patience=seconds, rung=keys, meanwhile=seconds, after=delays)
    def take(self, patience: float, rung: set[Key], meanwhile: float, after: float) -> None:
        """Wait for a look, while keys are rung; it has to come at the first moment at which one is owed, and not sooner."""
        began = self.loop.time()
        if self.is_out:
            worked = began - self.taken_at
            self.not_before = max(self.taken_at + SPACING, began + min(worked, REST_SECONDS_MAX))
            self.is_out = False
        if meanwhile < min(patience, self.expected(began) - began):
            self.loop.outside(meanwhile, self.ring, rung, after)
        looks: list[Look] = []
        self.loop.run_until(self._take(looks, patience))
        now, expected = self.loop.time(), self.expected(began)
        if not looks:
            assert expected > now - 1e-9, "what is owed is handed out"
            return
        [look] = looks
        assert abs(now - expected) < 1e-6, "no sooner than owed, and no later"
        due = {key for key, at in self.owed.items() if at <= now}
        if look.keys is None:
            assert self.all_owed <= now, "somebody asked for everything"
            self.all_owed = now + RESYNC
        else:
            assert self.all_owed > now, "everything was asked for"
            assert look.keys == due, "no bell is lost, and none comes too soon"
        self.owed = {key: at for key, at in self.owed.items() if at > now}
        self.taken_at, self.is_out = now, True

    async def _take(self, looks: list[Look], patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                looks.append(await self.queue.take())
        except TimeoutError:
            return

    def expected(self, began: float) -> float:
        return max(began, self.not_before, min([self.all_owed, *self.owed.values()]))

    @invariant()
    def names_what_is_owed(self) -> None:
        assert self.queue.depth == len(self.owed) <= KEYS_MAX


Bells.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestBells = Bells.TestCase
