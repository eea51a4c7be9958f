"""Sources that are connected and say nothing: when that is told, and what ends it."""

from dataclasses import replace

import pytest

from controller.domain import silence
from controller.domain.admission import Books, Intake
from controller.domain.events import (
    BirthReported,
    MessageRefused,
    SilenceReported,
    SourceReported,
    StatsReported,
    StopRequested,
    StreamEndAnnounced,
)
from controller.domain.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    Run,
    Source,
    SourceId,
    State,
    StreamId,
)
from controller.domain.silence import Requests
from controller.domain.verdicts import Verdict
from tests.fakes import domain_values as make

OTHER = SourceId("enc-2")
BIRTH = BirthReported(make.SOURCE, "b1", (), make.CAUSE, 1)
KNOWN = Source(make.SOURCE, "b1", True, make.NOW, make.NOW, "b1", 1, make.later(-1), answers_births=True)
REPORT = SilenceReported(make.SOURCE, 3, make.later(-1), make.CAUSE)


class TestRequests:
    def asked(self, times: int = 3) -> Requests:
        requests = Requests()
        for _ in range(times):
            requests.count(make.SOURCE)
        return requests

    def test_those_in_a_row_without_an_answer_are_counted(self) -> None:
        requests = self.asked(3)
        assert (requests.unanswered(make.SOURCE), requests.unanswered(OTHER)) == (3, 0)

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(BIRTH, id="a birth"),
            pytest.param(SourceReported(make.SOURCE, "b1", True, make.CAUSE), id="a status"),
            pytest.param(StatsReported(make.SOURCE, Key("k"), ()), id="figures"),
            pytest.param(StreamEndAnnounced(make.SOURCE, Key("k"), make.CAUSE), id="an end"),
        ],
    )
    def test_whatever_the_source_says_breaks_the_row(self, said) -> None:
        requests = self.asked()
        requests.hear(said)
        assert requests.unanswered(make.SOURCE) == 0

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(replace(BIRTH, source_id=OTHER), id="another source"),
            pytest.param(StopRequested(make.ID, make.CAUSE), id="an operator"),
            pytest.param(MessageRefused("t", b"", 0, "not JSON"), id="what cannot be read"),
        ],
    )
    def test_what_others_say_does_not(self, said) -> None:
        requests = self.asked()
        assert requests.hear(said) == said
        assert requests.unanswered(make.SOURCE) == 3

    def test_a_connection_that_broke_breaks_the_row(self) -> None:
        requests = self.asked()
        requests.begin()
        assert requests.unanswered(make.SOURCE) == 0

    def test_a_birth_knows_whether_it_was_asked_for(self) -> None:
        requests = self.asked(1)
        assert [requests.hear(BIRTH), requests.hear(BIRTH)] == [replace(BIRTH, is_answer=True), BIRTH]


class World:
    """One source with two streams, and what becomes of them."""

    def __init__(self, source: Source = KNOWN) -> None:
        other = make.run(State.LIVE, id=StreamId("s2"), key=Key("lost"))
        self.runs: dict[Key, Run] = {run.stream.key: run for run in (make.run(State.LIVE, make.placement()), other)}
        self.sources = {source.id: source}

    def say(self, event) -> Verdict:
        intake = Intake(Books(self.runs, sources=self.sources), make.NOW, lambda: StreamId("new"))
        verdict = intake.admit(event)
        self.runs |= {change.run.stream.key: change.run for change in intake.changes()}
        self.sources |= intake.sources
        return verdict

    @property
    def source(self) -> Source:
        return self.sources[make.SOURCE]

    def told(self, key: Key = make.KEY) -> tuple[ConditionStatus, str] | None:
        found = self.runs[key].stream.condition(ConditionType.SOURCE_ONLINE)
        return (found.status, found.reason) if found else None


def test_it_is_told_on_the_streams_and_ends_nothing() -> None:
    world = World()
    assert world.say(REPORT) is Verdict.NOTED
    assert world.source.silent_since == make.NOW
    assert world.told() == (ConditionStatus.UNKNOWN, "Silent")
    assert world.runs[make.KEY].stream.state is State.LIVE
    assert world.say(REPORT) is Verdict.STALE, "once"


@pytest.mark.parametrize(
    ("source", "report"),
    [
        pytest.param(replace(KNOWN, is_online=False), REPORT, id="it is gone, and everybody knows"),
        pytest.param(replace(KNOWN, answers_births=False), REPORT, id="it has never answered"),
        pytest.param(KNOWN, replace(REPORT, unanswered=2), id="two requests"),
        pytest.param(KNOWN, replace(REPORT, birth_at=make.later(-9)), id="a birth came meanwhile"),
        pytest.param(KNOWN, replace(REPORT, source_id=OTHER), id="nobody knows it"),
    ],
)
def test_it_is_not_told_without_reason(source: Source, report: SilenceReported) -> None:
    world = World(source)
    assert world.say(report) is Verdict.STALE
    assert (world.source.silent_since, world.told()) == (None, None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(BIRTH, (ConditionStatus.FALSE, "NotInBirth"), id="a birth that lacks it"),
        pytest.param(
            SourceReported(make.SOURCE, "b1", True, make.CAUSE), (ConditionStatus.TRUE, "HeardAgain"), id="a status"
        ),
        pytest.param(
            SourceReported(make.SOURCE, "b1", False, make.CAUSE), (ConditionStatus.FALSE, "LastWill"), id="its will"
        ),
    ],
)
def test_it_ends_with_the_next_sign_of_life(said, told) -> None:
    world = World()
    world.say(REPORT)
    assert world.say(said) is Verdict.NOTED
    assert (world.source.silent_since, world.told()) == (None, told)


def test_a_stream_whose_source_is_lost_stays_so() -> None:
    world = World()
    gone = Condition(ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "LastWill", "", make.NOW, 1)
    world.runs[make.KEY] = Run(make.stream(State.STALLED, conditions=(gone,)))
    world.say(REPORT)
    assert world.runs[make.KEY].stream.is_source_lost


def test_only_a_process_that_has_answered_can_fall_silent() -> None:
    world = World(replace(KNOWN, answers_births=False))
    world.say(replace(BIRTH, seq=2))
    assert not silence.is_due(world.source, 9)
    world.say(replace(BIRTH, seq=3, is_answer=True))
    world.say(replace(BIRTH, seq=4))
    assert silence.is_due(world.source, 3)
    assert not silence.is_due(world.source, 2)
    world.say(SourceReported(make.SOURCE, "b2", True, make.CAUSE))
    assert not silence.is_due(world.source, 9), "its next process may be another program"
    assert not silence.is_due(None, 9)
