"""The comparison: every healthy moment is quiet, every injected drift is named."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.sync_check import Discrepancies, Graces, compare
from controller.domain.model import BootId, Key, Output, PlacementState, ProxyId, StreamId
from controller.domain.observation import Freshness, Observed, ProxyView, Session, SessionState
from controller.store.audit import Reading, Wish
from tests.fakes.domain_values import BOOT, NOW, P1, P2, later, session, view

GRACES = Graces(timedelta(seconds=5), timedelta(seconds=5))
TS, HLS = Output.TS, Output.HLS
QUIET: Discrepancies = {
    "orphaned_ts_sessions": [],
    "orphaned_hls_sessions": [],
    "missing_ts_sessions": [],
    "missing_hls_sessions": [],
    "has_issues": False,
}


def wish(state: PlacementState = PlacementState.OBSERVED, **fields: Any) -> Wish:
    defaults: dict[str, Any] = {
        "stream_id": StreamId("stream-1"),
        "key": Key("cam-7"),
        "epoch": 1,
        "generation": 1,
        "proxy_id": P1,
        "boot_id": BOOT,
        "run_is_active": True,
        "outputs": frozenset({TS, HLS}),
        "is_current": True,
        "requested_at": later(-60),
        "stopping_at": NOW if state is PlacementState.STOPPING else None,
        "gone_at": NOW if state is PlacementState.GONE else None,
        "reply_sequence": 1,
    }
    return Wish(state=state, **{**defaults, **fields})


def reading(*wishes: Wish) -> Reading:
    keys = tuple(w.key for w in wishes if w.state is not PlacementState.GONE)
    return Reading(keys, {(w.stream_id, w.epoch, w.generation): w for w in wishes})


def check(
    before: Reading, view: ProxyView, after: Reading | None = None, *, now: datetime = NOW, is_live: bool = True
) -> Discrepancies:
    after = before if after is None else after
    found = compare(before, Observed((view,)), after, graces=GRACES, now=now, is_live=is_live)
    return found["discrepancies"]


STOPPING, GONE, REQUESTED = PlacementState.STOPPING, PlacementState.GONE, PlacementState.REQUESTED


def test_the_shape_is_the_contract() -> None:
    one = reading(wish())
    found = compare(one, Observed((view(session(SessionState.IDLE)),)), one, graces=GRACES, now=NOW, is_live=False)
    assert found == {
        "state": {"stream_count": 1, "stream_keys": ["cam-7"]},
        "ts_proxy": {"session_count": 1, "session_keys": ["cam-7"]},
        "hls_proxy": {"session_count": 1, "session_keys": ["cam-7"]},
        "discrepancies": QUIET,
    }


def test_keys_are_sorted_and_named_once() -> None:
    wishes = [wish(stream_id=f"s{n}", key=Key(k), generation=n) for n, k in enumerate("bab")]
    sessions = [session(stream_id=f"s{n}", key=Key(k), generation=n) for n, k in enumerate("bab")]
    found = compare(
        reading(*wishes), Observed((view(*sessions),)), reading(*wishes), graces=GRACES, now=NOW, is_live=False
    )
    assert found["ts_proxy"] == {"session_count": 3, "session_keys": ["a", "b"]}
    assert found["state"] == {"stream_count": 2, "stream_keys": ["a", "b"]}


HEALTHY = {
    "nothing at all": (reading(), view(), reading()),
    "it plays": (reading(wish()), view(session()), reading(wish())),
    "it is idle": (reading(wish()), view(session(SessionState.IDLE)), reading(wish())),
    "it started between the readings": (reading(), view(session()), reading(wish(REQUESTED, requested_at=NOW))),
    "it came and went between the readings": (reading(), view(session()), reading(wish(GONE))),
    "its end was decided after the list": (reading(wish()), view(session()), reading(wish(STOPPING))),
    "it was ended, stopped and seen gone after the list": (reading(wish()), view(session()), reading(wish(GONE))),
    "it is on its way out": (reading(wish(STOPPING)), view(session(), observed_at=later(4)), reading(wish(STOPPING))),
    "it has just been asked for": (reading(wish(requested_at=NOW)), view(), reading(wish(requested_at=NOW))),
    "it was asked for, and ended, while nobody had started it": (reading(wish()), view(), reading(wish(STOPPING))),
    "it has finished by itself": (
        reading(wish()),
        view(session(SessionState.FINISHED, finished_reason="upstream_ended")),
        reading(wish()),
    ),
    "a finished session that nobody wants any more does not play": (
        reading(),
        view(session(SessionState.FINISHED)),
        reading(),
    ),
    "replaced in place: the old one still runs": (
        reading(wish(STOPPING), wish(REQUESTED, generation=2, requested_at=NOW)),
        view(session(generation=1)),
        reading(wish(STOPPING), wish(REQUESTED, generation=2, requested_at=NOW)),
    ),
    "replaced in place: the new one runs, the first reading is from before": (
        reading(wish()),
        view(session(generation=2)),
        reading(wish(STOPPING), wish(REQUESTED, generation=2, requested_at=NOW)),
    ),
    "its spec has lost an output, and the replacement is not placed yet": (
        reading(wish(outputs=frozenset({TS}), is_current=False)),
        view(session()),
        reading(wish(outputs=frozenset({TS}), is_current=False)),
    ),
    "its spec has gained an output, and the replacement is not placed yet": (
        reading(wish(is_current=False)),
        view(session(outputs=(TS,))),
        reading(wish(is_current=False)),
    ),
    "the list is older than the proxy's last word": (
        reading(wish(reply_sequence=11)),
        view(sequence=10),
        reading(wish(reply_sequence=11)),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("is_live", [False, True], ids=["cached", "live"])
def test_a_healthy_moment_is_quiet(name: str, is_live: bool) -> None:
    before, seen, after = HEALTHY[name]
    if isinstance(seen, ProxyView):
        assert check(before, seen, after, now=later(4), is_live=is_live) == QUIET


ORPHANED = {"orphaned_ts_sessions": ["cam-7"], "orphaned_hls_sessions": ["cam-7"], "has_issues": True}
MISSING = {"missing_ts_sessions": ["cam-7"], "missing_hls_sessions": ["cam-7"], "has_issues": True}

DRIFTS = {
    "a session that nobody ever asked for": (reading(), view(session()), ORPHANED),
    "a session of another generation": (reading(wish(generation=2)), view(session()), ORPHANED | MISSING),
    "a session of another epoch": (reading(wish(epoch=2)), view(session()), ORPHANED | MISSING),
    "a session on another proxy than the one it was asked of": (
        reading(wish(proxy_id=P2, requested_at=NOW)),
        view(session()),
        ORPHANED,
    ),
    "a session that does not stop": (reading(wish(STOPPING)), view(session(), observed_at=later(6)), ORPHANED),
    "a session of a run that is over, whose placement was forgotten": (
        reading(wish(run_is_active=False)),
        view(session()),
        ORPHANED,
    ),
    "a session with an output that was not asked for": (
        reading(wish(outputs=frozenset({TS}))),
        view(session()),
        {"orphaned_hls_sessions": ["cam-7"], "has_issues": True},
    ),
    "a session that lacks an output": (
        reading(wish()),
        view(session(outputs=(TS,))),
        {"missing_hls_sessions": ["cam-7"], "has_issues": True},
    ),
    "a placement that nothing runs for": (reading(wish()), view(), MISSING),
    "a placement of an older spec that nothing runs for": (reading(wish(is_current=False)), view(), MISSING),
    "a placement that was never answered": (reading(wish(REQUESTED, reply_sequence=None)), view(), MISSING),
    "a proxy that has restarted": (
        reading(wish(reply_sequence=99)),
        view(boot_id=BootId("boot-2"), sequence=1),
        MISSING,
    ),
    "a proxy that cannot be reached": (reading(wish()), view(session(), freshness=Freshness.STALE), MISSING),
    "a proxy that is not there at all": (reading(wish(proxy_id=P2)), view(), MISSING),
}


@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize("is_live", [False, True], ids=["cached", "live"])
def test_a_drift_is_named(name: str, is_live: bool) -> None:
    before, seen, expected = DRIFTS[name]
    assert isinstance(before, Reading)
    assert isinstance(seen, ProxyView)
    assert check(before, seen, is_live=is_live) == QUIET | expected


def test_a_session_that_was_seen_gone_and_runs_again_is_wrong_at_once_when_asked_live() -> None:
    gone = reading(wish(GONE))
    assert check(gone, view(session()), is_live=True) == QUIET | ORPHANED
    assert check(gone, view(session()), is_live=False) == QUIET
    assert check(gone, view(session(), observed_at=later(6)), is_live=False) == QUIET | ORPHANED


def test_an_unreachable_proxy_counts_only_after_the_start_grace_and_its_sessions_never() -> None:
    young = reading(wish(REQUESTED, requested_at=later(-4)))
    lost = view(session(), freshness=Freshness.LOST)
    assert check(young, lost) == QUIET
    found = compare(young, Observed((lost,)), young, graces=GRACES, now=NOW, is_live=True)
    assert found["ts_proxy"] == {"session_count": 0, "session_keys": []}
    assert check(reading(), lost) == QUIET


# A healthy run, with every moment of it looked at from every other one

KEYS = [Key("a"), Key("b")]
DELAY_MAX = 3.0
"""A healthy start or stop, including the time a list is under way, takes less than its grace."""
RESYNC_MAX = 12.0
LOOKS_MAX = timedelta(seconds=3)
"""How far the two readings may be apart: as long as a list may take."""


@dataclass(slots=True)
class Moment:
    now: datetime
    wishes: dict[Any, Wish]
    cached: ProxyView
    live: ProxyView

    def reading(self, stream_ids: Iterable[str]) -> Reading:
        asked = set(stream_ids)
        kept = {f: w for f, w in self.wishes.items() if w.state is not GONE or w.stream_id in asked}
        return Reading(tuple(sorted({w.key for w in kept.values() if w.state is not GONE})), kept)


@dataclass
class Healthy:
    """One proxy, a control loop that is never late, and streams that come, change and go."""

    now: datetime = NOW
    wishes: dict[Any, Wish] = field(default_factory=dict)
    sessions: dict[Any, Session] = field(default_factory=dict)
    under_way: list[tuple[datetime, str, Any]] = field(default_factory=list)
    sequence: int = 0
    epochs: dict[Key, int] = field(default_factory=dict)
    asked: dict[Any, frozenset[Output]] = field(default_factory=dict)
    """What each command carries: the outputs of its time."""
    stopped: set[Any] = field(default_factory=set)
    cached: ProxyView = field(default_factory=lambda: view(observed_at=NOW))
    moments: list[Moment] = field(default_factory=list)

    def listed(self) -> ProxyView:
        return ProxyView(
            ProxyId("p1"),
            "",
            Freshness.FRESH,
            BOOT,
            self.sequence,
            "",
            self.now,
            sessions=tuple(self.sessions.values()),
        )

    def step(self, kind: str, key: Key, seconds: float, outputs: frozenset[Output]) -> None:
        match kind:
            case "announce":
                self._announce(key, seconds, outputs)
            case "end":
                self._end(key, seconds)
            case "update":
                self._update(key, outputs)
            case "replace":
                self._replace(key, seconds)
            case "finish":
                self._finish(key)
            case "list":
                self.cached = self.listed()
            case "confirm":
                self._confirm()
            case "wait":
                self._wait(seconds)
        self.moments.append(Moment(self.now, dict(self.wishes), self.cached, self.listed()))

    def _wanted(self, key: Key) -> Wish | None:
        return next((w for w in self.wishes.values() if w.key == key and w.state.is_wanted), None)

    def _request(self, key: Key, epoch: int, generation: int, outputs: frozenset[Output], seconds: float) -> None:
        fence = (StreamId(f"{key}-{epoch}"), epoch, generation)
        self.wishes[fence] = wish(
            REQUESTED, stream_id=fence[0], key=key, epoch=epoch, generation=generation, outputs=outputs,
            requested_at=self.now, reply_sequence=None,
        )  # fmt: skip
        self.asked[fence] = outputs
        self.under_way.append((self.now + timedelta(seconds=seconds), "ensure", fence))

    def _announce(self, key: Key, seconds: float, outputs: frozenset[Output]) -> None:
        if self._wanted(key) is None:
            self.epochs[key] = self.epochs.get(key, 0) + 1
            self._request(key, self.epochs[key], 1, outputs, seconds)

    def _end(self, key: Key, seconds: float) -> None:
        for fence, one in self.wishes.items():
            if one.key == key and one.state is not GONE:
                self.wishes[fence] = replace(
                    one, state=STOPPING, stopping_at=one.stopping_at or self.now, run_is_active=False
                )
                self.under_way.append((self.now + timedelta(seconds=seconds), "stop", fence))

    def _update(self, key: Key, outputs: frozenset[Output]) -> None:
        """Another spec: what is placed is no longer current, until it is replaced."""
        for fence, one in self.wishes.items():
            if one.key == key and one.run_is_active and one.outputs != outputs:
                self.wishes[fence] = replace(one, outputs=outputs, is_current=False)

    def _replace(self, key: Key, seconds: float) -> None:
        one = self._wanted(key)
        if one is not None and not one.is_current:
            fence = (one.stream_id, one.epoch, one.generation)
            self.wishes[fence] = replace(one, state=STOPPING, stopping_at=self.now)
            self._request(key, one.epoch, one.generation + 1, one.outputs, seconds)

    def _finish(self, key: Key) -> None:
        for fence, one in self.sessions.items():
            if one.key == key:
                self.sessions[fence] = replace(one, state=SessionState.FINISHED)
                self.sequence += 1

    def _confirm(self) -> None:
        """The loop lists, and marks gone what was answered and is not in the list."""
        self.cached = self.listed()
        for fence, one in self.wishes.items():
            newer = any(f[:2] == fence[:2] and f[2] > fence[2] for f in self.sessions)
            if one.state is STOPPING and fence not in self.sessions and (fence in self.stopped or newer):
                self.wishes[fence] = replace(one, state=GONE, gone_at=self.now)

    def _wait(self, seconds: float) -> None:
        until = self.now + timedelta(seconds=seconds)
        for due in sorted(self.under_way, key=lambda entry: entry[0]):
            if due[0] <= until:
                self.under_way.remove(due)
                self.now = max(self.now, due[0])
                self._arrive(due[1], due[2])
        self.now = until
        if self.cached.observed_at is None or self.now - self.cached.observed_at > timedelta(seconds=RESYNC_MAX):
            self.cached = self.listed()

    def _arrive(self, kind: str, fence: Any) -> None:
        """At the proxy: fences per key, tombstones, replacement in place. The answer is written down at once."""
        one = self.wishes[fence]
        self.sequence += 1
        if kind == "stop":
            self.sessions.pop(fence, None)
            self.stopped.add(fence)
        elif fence not in self.stopped and not any(f[0] == fence[0] and f[2] > fence[2] for f in self.sessions):
            self.sessions = {f: s for f, s in self.sessions.items() if s.key != one.key}
            outputs = tuple(sorted(self.asked[fence]))
            self.sessions[fence] = session(
                stream_id=fence[0], key=one.key, epoch=fence[1], generation=fence[2], outputs=outputs
            )
        if one.state is not GONE:
            self.wishes[fence] = replace(one, reply_sequence=self.sequence)


def look(a: Moment, o: Moment, b: Moment, *, is_live: bool) -> Discrepancies:
    observed = o.live if is_live else o.cached
    before = a.reading(s.stream_id for s in a.cached.sessions)
    after = b.reading(s.stream_id for s in observed.sessions)
    found = compare(before, Observed((observed,)), after, graces=GRACES, now=b.now, is_live=is_live)
    return found["discrepancies"]


outputs_of = st.sampled_from([frozenset({TS}), frozenset({HLS}), frozenset({TS, HLS})])
kinds = st.sampled_from(["announce", "end", "update", "replace", "finish", "list", "confirm", "wait", "wait", "wait"])
steps = st.lists(st.tuples(kinds, st.sampled_from(KEYS), st.floats(0, DELAY_MAX), outputs_of), min_size=1, max_size=25)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_no_interleaving_of_a_healthy_run_is_reported(steps: list[tuple[str, Key, float, frozenset[Output]]]) -> None:
    world = Healthy()
    for kind, key, seconds, outputs in steps:
        world.step(kind, key, seconds, outputs)
    moments = world.moments
    for i, a in enumerate(moments):
        for j, o in enumerate(moments[i:], i):
            for b in moments[j:]:
                if b.now - a.now > LOOKS_MAX:
                    break
                for is_live in (False, True):
                    assert look(a, o, b, is_live=is_live) == QUIET


@settings(max_examples=100, deadline=None)
@given(steps, st.sampled_from(KEYS))
def test_a_session_that_nobody_asked_for_is_seen_through_any_healthy_run(
    steps: list[tuple[str, Key, float, frozenset[Output]]], key: Key
) -> None:
    world = Healthy()
    for kind, wanted, seconds, outputs in steps:
        world.step(kind, wanted, seconds, outputs)
    moment = world.moments[-1]
    stranger = session(stream_id="stranger", key=Key("stranger"), epoch=9, generation=9)
    moment.live = replace(moment.live, sessions=(*moment.live.sessions, stranger))
    found = look(moment, moment, moment, is_live=True)
    assert found == QUIET | {
        "orphaned_ts_sessions": ["stranger"],
        "orphaned_hls_sessions": ["stranger"],
        "has_issues": True,
    }
