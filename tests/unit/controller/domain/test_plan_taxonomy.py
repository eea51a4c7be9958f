"""Every kind of drift, row by row: that it is seen, what holds it, what is done about it."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from controller.domain.model import (
    BootId,
    CommandKind,
    Key,
    PlacementState,
    ProxyId,
    Run,
    Source,
    SourceId,
    State,
    StreamId,
)
from controller.domain.observation import (
    NO_BOOT,
    Desired,
    DriftKey,
    DriftSeen,
    Freshness,
    Observed,
    ProxyView,
    StuckCommand,
)
from controller.domain.plan import Action, DriftClass, DriftKind, GateKind, Plan, Policy, Verb, plan
from controller.domain.plan.taxonomy import ELSEWHERE, NUMBERS, RULES, Grace
from tests.fakes import domain_values as make

STRANGER = StreamId("stream-x")
REQUESTED, OBSERVED, STOPPING = PlacementState.REQUESTED, PlacementState.OBSERVED, PlacementState.STOPPING
ON_P2 = {"proxy_id": make.P2, "boot_id": BootId("boot-2")}
CLOSED = {"closed": MappingProxyType({make.ID: make.stream(State.CLOSED)})}
FINGERPRINTED = Policy(fingerprint=lambda key, spec: "wished")
OURS = Policy(installation="ours")
SILENT = Source(make.SOURCE, "b1", True, make.NOW, make.NOW, answers_births=True, silent_since=make.NOW)
STUCK = StuckCommand(make.KEY, make.ID, 1, make.P1, CommandKind.STOP, 7, "no answer in time")


def open_drift(kind: DriftKind, stream_id: str, looks: int = 1) -> dict[str, Any]:
    seen = {DriftKey(kind, make.P1, stream_id, 1): DriftSeen(make.NOW, looks)}
    return {"drifts": MappingProxyType(seen)}


def pending(stream_id: StreamId = make.ID, generation: int = 1) -> dict[str, Any]:
    return {"pending": frozenset({(stream_id, generation, make.P1)})}


@dataclass(frozen=True)
class Case:
    """One reading, and what the plan says about the drift in it."""

    kind: DriftKind
    expected: Verb | GateKind
    """What is done, or the gate that holds it."""
    commands: tuple[tuple[CommandKind, str, int], ...]
    runs: tuple[Run, ...] = ()
    views: tuple[ProxyView, ...] = ()
    at: float = 0
    policy: Policy = field(default_factory=Policy)
    more: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        return plan(Desired(self.runs, **self.more), Observed(self.views), self.policy, make.later(self.at))

    def found(self) -> list[Action]:
        return [a for a in self.plan().actions if a.drift is not None and a.drift.kind is self.kind]


def stop(generation: int = 1, proxy_id: ProxyId = make.P1) -> tuple[CommandKind, str, int]:
    return (CommandKind.STOP, proxy_id, generation)


def start(generation: int, proxy_id: ProxyId = make.P1) -> tuple[CommandKind, str, int]:
    return (CommandKind.ENSURE, proxy_id, generation)


LIVE = make.run(State.LIVE, make.placement())
REQUESTED_RUN = make.run(State.STARTING, make.placement(REQUESTED))
ENDED = make.run(State.ENDED, make.placement(STOPPING))
PLAYING, IDLE = make.view(make.session()), make.view()
LOST = make.view(make.session(), freshness=Freshness.LOST, error="no answer")
ON_PROXY_2 = make.view(make.session(generation=0), **ON_P2)
OLD = make.session(stream_id=STRANGER, epoch=1)
NEW = make.session(stream_id=STRANGER, epoch=3)
OTHER = make.session(stream_id=STRANGER, key=Key("other"))
K = DriftKind

CASES = (
    Case(K.MISSING_SESSION, Verb.CONFIRM_GONE, (start(2),), (LIVE,), (IDLE,)),
    Case(K.MISSING_SESSION, Verb.RESEND, (start(1),), (REQUESTED_RUN,), (IDLE,), at=5),
    Case(K.PROXY_LOST, Verb.MOVE, (start(2, make.P2),), (LIVE,), (LOST, make.view(**ON_P2))),
    Case(
        K.GENERATION_AHEAD, Verb.CONFIRM_GONE, (start(6),), (LIVE,), (make.view(make.session(generation=5)),), at=1
    ),
    Case(K.STATE_NOT_OBSERVED, Verb.ADVANCE, (start(2),), (make.run(State.LIVE),), (IDLE,)),
    Case(K.ORPHAN_ENDED, Verb.STOP, (stop(),), (), (PLAYING,), more=CLOSED),
    Case(K.ORPHAN_ENDED, GateKind.SENT, (), (), (PLAYING,), more=CLOSED | pending()),
    Case(
        K.ORPHAN_SUPERSEDED,
        Verb.STOP,
        (stop(),),
        (make.run(State.LIVE, make.placement(**ON_P2), epoch=2),),
        (make.view(OLD), make.view(make.session(epoch=2), **ON_P2)),
    ),
    Case(
        K.ORPHAN_GENERATION,
        GateKind.REPLACEMENT,
        (),
        (make.run(State.STARTING, make.placement(REQUESTED, generation=2), generation=2),),
        (PLAYING,),
        more=pending(generation=2),
    ),
    Case(
        K.ORPHAN_GENERATION,
        Verb.STOP,
        (stop(0),),
        (make.run(State.LIVE, make.placement(generation=2), generation=2),),
        (make.view(make.session(generation=0), make.session(generation=2)),),
    ),
    Case(K.DUPLICATE_SESSION, Verb.STOP, (stop(0, make.P2),), (LIVE,), (PLAYING, ON_PROXY_2)),
    Case(K.DUPLICATE_SESSION, GateKind.REPLACEMENT, (), (REQUESTED_RUN,), (IDLE, ON_PROXY_2)),
    Case(
        K.WRONG_SPEC,
        Verb.REPLACE,
        (start(2),),
        (LIVE,),
        (make.view(make.session(spec_digest="another")),),
        policy=FINGERPRINTED,
    ),
    Case(K.PLACEMENT_NOT_STOPPING, Verb.STOP, (stop(),), (make.run(State.ENDED, make.placement()),), (PLAYING,)),
    Case(K.STUCK_STOPPING, Verb.RESEND, (stop(),), (ENDED,), (PLAYING,), at=5),
    Case(K.ORPHAN_UNKNOWN, GateKind.GRACE, (), (), (make.view(OTHER),)),
    Case(
        K.ORPHAN_UNKNOWN, GateKind.GRACE, (), (), (make.view(OTHER),), at=59, more=open_drift(K.ORPHAN_UNKNOWN, STRANGER)
    ),
    Case(
        K.ORPHAN_UNKNOWN, Verb.STOP, (stop(),), (), (make.view(OTHER),), at=60, more=open_drift(K.ORPHAN_UNKNOWN, STRANGER)
    ),
    Case(
        K.NEWER_THAN_DATABASE, GateKind.REPORTED, (), (make.run(State.PENDING, epoch=2),), (make.view(NEW),), at=10**6
    ),
    Case(
        K.FOREIGN_SESSION, GateKind.REPORTED, (), (), (make.view(make.session(installation="theirs")),), at=10**6,
        policy=OURS, more=CLOSED,
    ),
    Case(K.UNKNOWN_PROXY, GateKind.REPORTED, (), (LIVE,), (make.view(**ON_P2),), at=10**6),
    Case(K.UNKNOWN_PROXY, GateKind.REPORTED, (), (ENDED,), (make.view(**ON_P2),), at=10**6),
    Case(K.OUTBOX_STUCK, GateKind.REPORTED, (), (), (IDLE,), more={"stuck": (STUCK,)}),
    Case(K.OBSERVED_LAG, GateKind.REPORTED, (), (REQUESTED_RUN,), (IDLE,), at=60, more=pending()),
    Case(K.SILENT_SOURCE, GateKind.REPORTED, (), (LIVE,), (PLAYING,), more={"silent": (SILENT,)}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.expected}")
def test_a_drift_is_seen_and_answered_by_its_row(case):
    [action] = case.found()
    assert (action.gate_kind or action.verb) == case.expected
    assert bool(action.gate) == (action.verb is Verb.HOLD)
    assert action.drift.evidence
    planned = case.plan()
    commands = [c for change in planned.changes for c in change.commands] + list(planned.stops)
    assert [(c.kind, c.proxy_id, c.generation) for c in commands] == list(case.commands)


def test_every_kind_has_a_case():
    assert {case.kind for case in CASES} == set(DriftKind) == set(RULES)


@pytest.mark.parametrize("kind", [kind for kind in DriftKind if kind.drift_class is DriftClass.REPORT])
def test_what_is_only_reported_is_never_done(kind):
    assert {case.expected for case in CASES if case.kind is kind} == {GateKind.REPORTED}


def test_every_number_of_the_taxonomy_is_seen_to_once():
    by_kinds = {number for rule in RULES.values() for number in rule.numbers}
    assert by_kinds | set(ELSEWHERE) == set(NUMBERS)
    assert not by_kinds & set(ELSEWHERE)


def test_every_class_has_a_kind():
    assert {rule.drift_class for rule in RULES.values()} == set(DriftClass)


def test_graces_are_those_of_the_policy():
    policy = Policy(**{grace.value: timedelta(seconds=7) for grace in Grace})
    for kind, rule in RULES.items():
        assert policy.grace(kind) == timedelta(seconds=7 if rule.grace is not None else 0)


@pytest.mark.parametrize(("at", "found"), [(59.9, 0), (60, 1)])
def test_what_is_asked_for_may_take_its_time(at, found):
    case = Case(K.OBSERVED_LAG, GateKind.REPORTED, (), (REQUESTED_RUN,), (IDLE,), at=at, more=pending())
    assert len(case.found()) == found


@pytest.mark.parametrize(
    ("session", "policy"),
    [
        pytest.param(make.session(spec_digest="wished"), FINGERPRINTED, id="the right one"),
        pytest.param(make.session(), FINGERPRINTED, id="the proxy tells none"),
        pytest.param(make.session(spec_digest="another"), Policy(), id="nobody compares"),
    ],
)
def test_a_fingerprint_that_is_right_or_not_known_is_no_drift(session, policy):
    assert Case(K.WRONG_SPEC, Verb.REPLACE, (), (LIVE,), (make.view(session),), policy=policy).found() == []


@pytest.mark.parametrize(
    ("mark", "policy"),
    [
        pytest.param("ours", OURS, id="our own"),
        pytest.param("", OURS, id="not said"),
        pytest.param("theirs", Policy(), id="nobody compares"),
    ],
)
def test_a_session_that_is_ours_or_of_nobody_is_no_foreign_one(mark, policy):
    view = make.view(make.session(installation=mark))
    assert Case(K.FOREIGN_SESSION, Verb.STOP, (), (), (view,), policy=policy, more=CLOSED).found() == []
    assert len(Case(K.ORPHAN_ENDED, Verb.STOP, (), (), (view,), policy=policy, more=CLOSED).found()) == 1


def test_a_session_that_a_placement_asks_for_is_ours_whatever_its_mark():
    view = make.view(make.session(installation="ours before"))
    case = Case(K.FOREIGN_SESSION, Verb.STOP, (), (LIVE,), (view,), policy=OURS)
    assert (case.found(), case.plan().stops) == ([], ())


def test_a_proxy_that_has_not_said_its_name_may_be_the_one_that_is_missed():
    nameless = make.view(proxy_id=ProxyId("http://p1"), freshness=Freshness.NEVER, boot_id=NO_BOOT)
    assert Case(K.UNKNOWN_PROXY, GateKind.REPORTED, (), (LIVE,), (nameless,)).found() == []


def test_every_silent_source_is_a_drift_of_its_own():
    others = (SILENT, replace(SILENT, id=SourceId("enc-2"), birth_at=make.NOW))
    found = Case(K.SILENT_SOURCE, GateKind.REPORTED, (), more={"silent": others}).found()
    assert [action.drift.source_id for action in found] == ["enc-1", "enc-2"]
    assert len({action.drift.drift_key for action in found}) == 2
    assert [action.drift.evidence.rpartition("; ")[2] for action in found] == [
        "none ever came",
        "the last came at 2026-03-01 12:00:00 UTC",
    ]


def test_a_command_to_a_proxy_that_does_not_answer_at_all_is_not_told_of_twice():
    stale = make.view(freshness=Freshness.STALE)
    assert Case(K.OUTBOX_STUCK, GateKind.REPORTED, (), (), (stale,), more={"stuck": (STUCK,)}).found() == []


class TestAskingForBirths:
    @pytest.mark.parametrize(
        ("session", "more", "asks"),
        [
            pytest.param(OTHER, {}, True, id="an unknown one, seen for the first time"),
            pytest.param(OTHER, open_drift(K.ORPHAN_UNKNOWN, STRANGER), False, id="seen before"),
            pytest.param(NEW, {}, True, id="one that is newer than the database"),
            pytest.param(NEW, open_drift(K.NEWER_THAN_DATABASE, STRANGER), False, id="and seen before"),
            pytest.param(OLD, {}, False, id="one of which the database knows all"),
        ],
    )
    def test_sources_are_asked_when_they_may_know_more(self, session, more, asks):
        run = make.run(State.LIVE, make.placement(**ON_P2), epoch=2)
        right = make.view(make.session(epoch=2), **ON_P2)
        planned = plan(Desired((run,), **more), Observed((right, make.view(session))), Policy(), make.NOW)
        assert planned.asks_for_births is asks
