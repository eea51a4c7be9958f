"""A source that ends nearly everything at once is not believed at once; one that ends much is slowed by a second."""

from dataclasses import replace

import pytest

from controller.domain import mass_end
from controller.domain.admission import Books, Intake
from controller.domain.events import BirthReported, Order, SourceReported, StreamAnnounced, StreamEndAnnounced
from controller.domain.mass_end import HOLD, WINDOW, MassEnd
from controller.domain.model import ConditionType, Key, Reason, Run, State, StreamId
from controller.domain.observation import Desired, Observed
from controller.domain.plan import GateKind, Plan, Policy, plan
from controller.domain.verdicts import Verdict
from tests.fakes import domain_values as make

RULE = MassEnd(ends_min=5, share=0.8)


def live(number: int) -> Run:
    name = StreamId(f"s{number}")
    return make.run(State.LIVE, make.placement(stream_id=name), id=name, key=Key(f"k{number}"))


class Ledger:
    """Runs of one source, and what it says about them."""

    def __init__(self, count: int) -> None:
        self.runs = {run.stream.key: run for run in map(live, range(count))}
        self.at = 0.0
        self.commands = 0

    def say(self, *events, rule: MassEnd | None = RULE) -> list[Verdict]:
        ends = {make.SOURCE: sum(isinstance(event, StreamEndAnnounced) for event in events)}
        intake = Intake(Books(self.runs, ends=ends), make.later(self.at), lambda: StreamId("new"), rule)
        verdicts = [intake.admit(event) for event in events]
        self._save(intake.changes())
        return verdicts

    def _save(self, changes) -> None:
        self.commands = sum(len(change.commands) for change in changes)
        self.runs |= {change.run.stream.key: change.run for change in changes}

    def end(self, *numbers: int, seq: int = 2) -> list[Verdict]:
        return self.say(
            *(StreamEndAnnounced(make.SOURCE, Key(f"k{n}"), make.CAUSE, Order(1, seq), detail="gone") for n in numbers)
        )

    def plan(
        self, after: float, approvals: frozenset[str] = frozenset(), *, keys: frozenset[Key] | None = None
    ) -> Plan:
        self.at += after
        sessions = [make.session(stream_id=run.stream.id, key=run.stream.key) for run in self.runs.values()]
        desired = Desired(tuple(self.runs.values()), approvals=approvals, keys=keys)
        thought = plan(desired, Observed((make.view(*sessions),)), Policy(mass_end=RULE), make.later(self.at))
        self._save(thought.changes)
        return thought

    def states(self) -> set[State]:
        return {run.stream.state for run in self.runs.values()}

    def held(self) -> int:
        return sum(run.stream.condition(ConditionType.END_HELD) is not None for run in self.runs.values())


@pytest.fixture
def ledger() -> Ledger:
    """Nearly everything of a source with ten streams has just ended."""
    found = Ledger(10)
    assert found.end(*range(9)) == [Verdict.HELD] * 9
    assert (found.states(), found.held(), found.commands) == ({State.LIVE}, 9, 0)
    return found


def test_it_is_off_unless_it_is_set():
    found = Ledger(10)
    ends = [StreamEndAnnounced(make.SOURCE, Key(f"k{n}"), make.CAUSE, Order(1, 2)) for n in range(10)]
    assert found.say(*ends, rule=None) == [Verdict.ENDED] * 10


def test_a_few_ends_are_carried_out_at_once():
    assert Ledger(10).end(*range(4)) == [Verdict.ENDED] * 4


def test_it_is_told_in_history_and_by_the_plan(ledger):
    thought = ledger.plan(1.0)
    assert (ledger.states(), ledger.held()) == ({State.LIVE}, 9)
    assert {action.gate_kind for action in thought.actions} >= {GateKind.END_HELD}
    condition = ledger.runs[Key("k0")].stream.condition(ConditionType.END_HELD)
    assert (condition.reason, condition.message) == ("SourceEnded", "gone")


def test_a_burst_that_is_not_nearly_everything_ends_a_second_later():
    found = Ledger(20)
    assert set(found.end(*range(9))) == {Verdict.HELD}
    found.plan(WINDOW.total_seconds() - 0.1)
    assert found.states() == {State.LIVE}
    found.plan(0.1, keys=frozenset(found.runs))
    assert found.states() == {State.LIVE}, "part of the world does not show how much is concerned"
    found.plan(0.0)
    assert [run.stream.state for run in found.runs.values()].count(State.ENDED) == 9
    assert found.runs[Key("k0")].stream.reason is Reason.SOURCE_ENDED


def test_the_source_says_it_again(ledger):
    assert ledger.end(0, seq=3) == [Verdict.ENDED]
    stream = ledger.runs[Key("k0")].stream
    assert (stream.state, stream.reason, stream.condition(ConditionType.END_HELD)) == (
        State.ENDED, Reason.SOURCE_ENDED, None,
    )  # fmt: skip
    assert ledger.end(1, seq=2) == [Verdict.STALE], "a message that is delivered twice is not said twice"


def test_a_birth_ends_what_it_lacks_and_keeps_what_it_lists(ledger):
    listed = StreamAnnounced(make.SOURCE, Key("k0"), make.SPEC, make.CAUSE, Order(1, 2), "src-boot-1")
    ledger.say(BirthReported(make.SOURCE, "src-boot-1", (listed,), make.CAUSE, seq=1))
    assert ledger.runs[Key("k0")].stream.condition(ConditionType.END_HELD) is None
    assert ledger.runs[Key("k0")].stream.state is State.LIVE
    assert {ledger.runs[Key(f"k{n}")].stream.state for n in range(1, 9)} == {State.ENDED}
    assert ledger.runs[Key("k9")].stream.state is State.STALLED, "it had not ended: a first birth that lacks it"


def test_an_announcement_cancels_it(ledger):
    ledger.say(StreamAnnounced(make.SOURCE, Key("k0"), make.SPEC, make.CAUSE, Order(1, 3), "src-boot-1"))
    assert ledger.held() == 8
    ledger.plan(HOLD.total_seconds())
    assert ledger.runs[Key("k0")].stream.state is State.LIVE


def test_an_operator_approves_it(ledger):
    name = ledger.plan(1.0).digest
    assert ledger.plan(1.0, frozenset({"another"})).approval == ""
    thought = ledger.plan(1.0, frozenset({name}))
    assert (thought.approval, [run.stream.state for run in ledger.runs.values()].count(State.ENDED)) == (name, 9)


@pytest.mark.parametrize(("seconds", "state"), [(59, State.LIVE), (60, State.ENDED)])
def test_after_a_minute_it_is_carried_out(ledger, seconds, state):
    ledger.plan(seconds)
    assert ledger.runs[Key("k0")].stream.state is state
    assert (ledger.commands > 0) is (state is State.ENDED)


def test_a_last_will_is_no_end(ledger):
    source = replace(make.run().stream).source_boot_id
    ledger.say(SourceReported(make.SOURCE, source, is_online=True, cause=make.CAUSE))
    assert State.ENDED not in ledger.states()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_survives_being_held(reason):
    assert mass_end.to_reason(mass_end.to_word(reason)) is reason


def test_a_word_of_another_version_is_an_end_of_its_source():
    assert mass_end.to_reason("SomethingNew") is Reason.SOURCE_ENDED
