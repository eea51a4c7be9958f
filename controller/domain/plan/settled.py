"""Runs of which nothing is to be said: nearly all of them, nearly always.

Recognised in a glance, so that a cycle over ten thousand streams costs what its differences cost. A law of the tests:
what is called settled here is planned by ``RunPlanner`` without an action and without a change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    Placement,
    PlacementState,
    ProxyId,
    Run,
    State,
)
from controller.domain.observation import Session, SessionState
from controller.domain.plan.scene import Scene
from controller.domain.plan.vocabulary import NOTHING_AGREED, Agreed, Carrier, Policy

T = TypeVar("T")


class Settled:
    """Tells, in one plan, the settled runs from the others.

    All that is looked at are frozen values. A run that was settled in the plan before is settled as long as the very
    same values stand around it: the run, the only one of its key; the only session of that key, at a proxy that is the
    same process and neither silent nor drained; the policy. So only keys around which one of these is another are
    looked at again, and those that have a control of their own, or whose time has come.
    """

    def __init__(self, scene: Scene, before: Agreed = NOTHING_AGREED) -> None:
        self._scene = scene
        self._before = before
        self._runs = scene.desired.runs
        self._by_key = before.by_key if self._runs is before.runs else _index(self._runs)
        self._carriers: Mapping[ProxyId, Carrier] = {
            view.proxy_id: Carrier(view.boot_id, view.is_draining, view.listed)
            for view in scene.fleet.views.values()
            if view.is_fresh
        }
        self._settled = dict(before.settled)
        self._expiring = dict(before.expiring)
        for key in self._disturbed():
            self._settled.pop(key, None)
            self._expiring.pop(key, None)
        others: list[Run] = []
        for key in [key for key in self._by_key if key not in self._settled]:
            others += self._look_at(key)
        self.others: Sequence[Run] = sorted(others, key=lambda run: run.stream.id)
        """The runs that are not settled."""

    @property
    def keys(self) -> AbstractSet[Key]:
        """Of the settled runs: each is listed once, by a session of that run."""
        return self._settled.keys()

    @property
    def wanted(self) -> int:
        """How many placements of active runs were seen, and should be seen again."""
        active = (run for run in self.others if run.stream.state.is_active)
        return len(self._settled) + sum(p.state is PlacementState.OBSERVED for run in active for p in run.placements)

    @property
    def agreed(self) -> Agreed:
        """What the next full plan need not look at again."""
        return Agreed(self._scene.policy, self._runs, self._by_key, self._carriers, self._settled, self._expiring)

    def _disturbed(self) -> AbstractSet[Key]:
        """Return the keys around which something is not what it was."""
        before, scene = self._before, self._scene
        if before.policy is not scene.policy:
            return set(self._settled)
        found = {key for key, expires_at in before.expiring.items() if expires_at <= scene.now}
        found |= before.settled.keys() & scene.desired.controls.keys
        if self._runs is not before.runs:
            found |= {run.stream.key for run in _changed(before.runs, self._runs)}
        for proxy_id in before.carriers.keys() | self._carriers.keys():
            found |= _disturbed_at(before.carriers.get(proxy_id), self._carriers.get(proxy_id))
        return found

    def _look_at(self, key: Key) -> Iterable[Run]:
        """Settle the only run of a key; return what cannot be."""
        runs = self._by_key[key]
        if len(runs) != 1 or not self._is_settled(runs[0]):
            return runs
        self._settled[key] = runs[0]
        if (expires_at := runs[0].stream.expires_at) is not None:
            self._expiring[key] = expires_at
        return ()

    def _is_settled(self, run: Run) -> bool:
        """Say whether the run is LIVE as wished, at one place, seen there alone, and described as such."""
        stream, scene = run.stream, self._scene
        listed = scene.fleet.of_key(stream.key)
        if len(listed) != 1:
            return False
        [(view, session)] = listed
        if stream.expires_at is not None and stream.expires_at <= scene.now:
            return False
        if scene.warden.has_controls and scene.warden.control_of(stream.key) is not None:
            return False
        if not _agree(run, session, scene.policy):
            return False
        [placement] = run.placements
        return placement.proxy_id == view.proxy_id and placement.boot_id == view.boot_id and not view.is_draining


def _index(runs: Iterable[Run]) -> Mapping[Key, Sequence[Run]]:
    by_key: dict[Key, list[Run]] = {}
    for run in runs:
        by_key.setdefault(run.stream.key, []).append(run)
    return by_key


def _disturbed_at(before: Carrier | None, now: Carrier | None) -> AbstractSet[Key]:
    """Return the keys that cannot be settled any more, or not as before, because of what one proxy is and runs now."""
    if before is None or now is None or (before.boot_id, before.is_draining) != (now.boot_id, now.is_draining):
        return {key for carrier in (before, now) if carrier is not None for key in carrier.sessions.by_key}
    if before.sessions is now.sessions:
        return frozenset()
    return {session.key for session in _changed(before.sessions, now.sessions)}


def _changed(before: Sequence[T], now: Sequence[T]) -> Iterator[T]:
    """Yield what stands in only one of two sequences, as a very value: to compare all of them would take longer."""
    old, new = set(map(id, before)), set(map(id, now))
    yield from (value for value in before if id(value) not in new)
    yield from (value for value in now if id(value) not in old)


def _agree(run: Run, session: Session, policy: Policy) -> bool:
    stream, fingerprint = run.stream, policy.fingerprint
    if stream.state is not State.LIVE or stream.failures or len(run.placements) != 1:
        return False
    [placement] = run.placements
    return (
        placement.state is PlacementState.OBSERVED
        and placement.generation == stream.generation == session.generation
        and placement.spec_generation == stream.spec_generation
        and session.stream_id == stream.id
        and session.epoch == stream.epoch
        and session.looping_seconds is None
        and _is_described(stream.conditions, session, placement, stream.spec_generation)
        and (
            fingerprint is None
            or not session.spec_digest
            or fingerprint(stream.key, stream.spec) == session.spec_digest
        )
    )


def _is_described(
    conditions: tuple[Condition, ...], session: Session, placement: Placement, spec_generation: int
) -> bool:
    """Whether the two conditions that every run has say what ``conditions.describe`` would say."""
    match session.state:
        case SessionState.IDLE if not session.detail:
            wished = (ConditionStatus.UNKNOWN, "Idle", "nobody watches")
        case SessionState.FLOWING if not session.failing_seconds:
            wished = (ConditionStatus.TRUE, "Flowing", "")
        case _:
            return False
    flow = place = False
    for condition in conditions:
        if condition.type is ConditionType.PAUSED or condition.type is ConditionType.END_HELD:
            return False
        if condition.type is ConditionType.LOOPING and condition.status is ConditionStatus.TRUE:
            return False
        said = (condition.status, condition.reason, condition.message)
        if condition.type is ConditionType.FLOWING:
            flow = said == wished and condition.observed_generation == spec_generation
        elif condition.type is ConditionType.PLACED:
            place = said == (ConditionStatus.TRUE, "Observed", f"on proxy {placement.proxy_id}")
            place = place and condition.observed_generation == spec_generation
    return flow and place
