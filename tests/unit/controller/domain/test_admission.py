"""Which announcements count: the rules of the topics as tables, and the law of order."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.domain.admission import Books, Intake
from controller.domain.events import (
    BirthReported,
    MessageRefused,
    Order,
    SourceReported,
    StatsReported,
    StopRequested,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.model import (
    ANONYMOUS,
    Block,
    Cause,
    CommandKind,
    ConditionStatus,
    ConditionType,
    Key,
    PlacementState,
    Reason,
    Run,
    SourceId,
    State,
    StreamId,
)
from controller.domain.processes import Known, Latest
from controller.domain.verdicts import Verdict
from tests.fakes import domain_values as make

OTHER = SourceId("enc-2")
BOOT, NEW_BOOT = "src-boot-1", "src-boot-2"


def start(epoch: int | None = None, seq: int = 1, **fields) -> StreamAnnounced:
    order = None if epoch is None else Order(epoch, seq)
    defaults = {
        "source_id": make.SOURCE,
        "key": make.KEY,
        "spec": make.SPEC,
        "cause": make.CAUSE,
        "order": order,
        "boot_id": BOOT,
    }
    return StreamAnnounced(**{**defaults, **fields})


def end(epoch: int | None = None, seq: int = 2, **fields) -> StreamEndAnnounced:
    order = None if epoch is None else Order(epoch, seq)
    defaults = {
        "source_id": make.SOURCE,
        "key": make.KEY,
        "cause": make.CAUSE,
        "order": order,
        "boot_id": BOOT,
    }
    return StreamEndAnnounced(**{**defaults, **fields})


def birth(*streams: StreamAnnounced, seq: int | None = None, boot_id: str = BOOT, source=make.SOURCE) -> BirthReported:
    return BirthReported(source, boot_id, streams, make.CAUSE, seq)


def status(*, online: bool, boot_id: str = BOOT) -> SourceReported:
    return SourceReported(make.SOURCE, boot_id, online, make.CAUSE)


@dataclass
class Ledger:
    """The books between batches of one event each: what a database keeps."""

    runs: dict[StreamId, Run] = field(default_factory=dict)
    floors: dict = field(default_factory=dict)
    sources: dict = field(default_factory=dict)
    processes: dict = field(default_factory=dict)
    rebirths: set = field(default_factory=set)
    now: float = 0.0
    ids: count = field(default_factory=lambda: count(1))

    def admit(self, *events) -> list[Verdict]:
        return [verdict for event in events for verdict in self.admit_batch(event)]

    def admit_batch(self, *events) -> list[Verdict]:
        newest: dict[Key, Run] = {}
        for run in sorted(self.runs.values(), key=lambda run: run.stream.epoch):
            newest[run.stream.key] = run
        turns = {process.turn: boot_id for (_, boot_id), process in self.processes.items() if process.turn is not None}
        latest = {make.SOURCE: Latest(max(turns), turns[max(turns)])} if turns else {}
        known = Known(dict(self.processes), latest)
        books = Books(MappingProxyType(newest), dict(self.floors), dict(self.sources), processes=known)
        intake = Intake(books, make.later(self.now), lambda: StreamId(f"new-{next(self.ids)}"))
        verdicts = [intake.admit(event) for event in events]
        for change in intake.changes():
            self.runs[change.run.stream.id] = change.run
        self.floors |= intake.floors
        self.sources |= intake.sources
        self.processes |= intake.processes.changed
        self.rebirths |= intake.rebirths
        self.intake = intake
        return verdicts

    def put(self, run: Run) -> None:
        self.runs[run.stream.id] = run

    def running(self) -> set[tuple[Key, int | None]]:
        return {(r.stream.key, r.stream.announced_epoch) for r in self.runs.values() if r.stream.state.is_active}

    @property
    def newest(self):
        return max(self.runs.values(), key=lambda run: run.stream.epoch).stream


V = Verdict

NUMBERED = {
    "a start starts": ([start(1)], [V.STARTED], {1}),
    "a start again is a repeat": ([start(1), start(1)], [V.STARTED, V.REPEATED], {1}),
    "a start with a higher seq and another spec is an update": (
        [start(1), start(1, 2, spec=make.OTHER_SPEC)],
        [V.STARTED, V.UPDATED],
        {1},
    ),
    "a start with a higher seq and the same spec is a repeat": ([start(1), start(1, 2)], [V.STARTED, V.REPEATED], {1}),
    "an older update that comes late is dropped": ([start(1, 3), start(1, 2)], [V.STARTED, V.STALE], {1}),
    "an end ends": ([start(1), end(1)], [V.STARTED, V.ENDED], set()),
    "an end again changes nothing": ([start(1), end(1), end(1)], [V.STARTED, V.ENDED, V.ALREADY_ENDED], set()),
    "an end with the seq of the start is stale": ([start(1), end(1, 1)], [V.STARTED, V.STALE], {1}),
    "a start that was repeated after its end does not resurrect": (
        [start(1), end(1), start(1)],
        [V.STARTED, V.ENDED, V.ALREADY_ENDED],
        set(),
    ),
    "an update that comes after the end does not resurrect": (
        [start(1), end(1, 5), start(1, 4)],
        [V.STARTED, V.ENDED, V.ALREADY_ENDED],
        set(),
    ),
    "an end before its start leaves no ghost": ([end(1), start(1)], [V.EARLY_END, V.ALREADY_ENDED], set()),
    "an early end again changes nothing": ([end(1), end(1)], [V.EARLY_END, V.ALREADY_ENDED], set()),
    "a higher epoch supersedes": ([start(1), start(2)], [V.STARTED, V.STARTED], {2}),
    "a late start of a superseded epoch is stale": (
        [start(1), start(2), start(1)],
        [V.STARTED, V.STARTED, V.STALE],
        {2},
    ),
    "a late end of a superseded epoch leaves its successor alone": (
        [start(1), start(2), end(1)],
        [V.STARTED, V.STARTED, V.STALE],
        {2},
    ),
    "the end of the next epoch leaves this one alone": ([start(1), end(2)], [V.STARTED, V.EARLY_END], {1}),
    "the late start of an ended epoch proves that the one before is over": (
        [start(1), end(2), start(2)],
        [V.STARTED, V.EARLY_END, V.ALREADY_ENDED],
        set(),
    ),
    "an update below the floor of the next epoch changes nothing": (
        [start(1), end(2), start(1, 2)],
        [V.STARTED, V.EARLY_END, V.ALREADY_ENDED],
        {1},
    ),
    "a start above the floor starts": ([end(3), start(4)], [V.EARLY_END, V.STARTED], {4}),
    "a lower start under the floor of a higher epoch is over too": (
        [end(3), start(2)],
        [V.EARLY_END, V.ALREADY_ENDED],
        set(),
    ),
    "an end without numbers ends no numbered run": ([start(1), end()], [V.STARTED, V.UNNUMBERED], {1}),
    "a start without numbers changes no numbered run": (
        [start(1), start(spec=make.OTHER_SPEC)],
        [V.STARTED, V.UNNUMBERED],
        {1},
    ),
    "a start without numbers follows a numbered run that ended": (
        [start(1), end(1), start()],
        [V.STARTED, V.ENDED, V.STARTED],
        {None},
    ),
    "a numbered start supersedes a run without numbers": ([start(), start(7)], [V.STARTED, V.STARTED], {7}),
    "a numbered end ends no run without numbers": ([start(), end(7)], [V.STARTED, V.EARLY_END], {None}),
}

UNNUMBERED = {
    "a start starts": ([start()], [V.STARTED], {None}),
    "the same again is a repeat": ([start(), start()], [V.STARTED, V.REPEATED], {None}),
    "another spec is an update": ([start(), start(spec=make.OTHER_SPEC)], [V.STARTED, V.UPDATED], {None}),
    "an end ends": ([start(), end()], [V.STARTED, V.ENDED], set()),
    "an end again changes nothing": ([start(), end(), end()], [V.STARTED, V.ENDED, V.ALREADY_ENDED], set()),
    "an end of an unknown key changes nothing": ([end()], [V.UNKNOWN], set()),
    "an end by somebody else ends nothing": ([start(), end(source_id=OTHER)], [V.STARTED, V.NOT_OWNER], {None}),
    "a start after the end is a new run": ([start(), end(), start()], [V.STARTED, V.ENDED, V.STARTED], {None}),
    "a retained start equal to the last run starts nothing": (
        [start(), end(), start(is_retained=True)],
        [V.STARTED, V.ENDED, V.RETAINED],
        set(),
    ),
    "a retained start of another spec starts": (
        [start(), end(), start(is_retained=True, spec=make.OTHER_SPEC)],
        [V.STARTED, V.ENDED, V.STARTED],
        {None},
    ),
    "a retained start of an unknown key starts": ([start(is_retained=True)], [V.STARTED], {None}),
}


@pytest.mark.parametrize("in_one_batch", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize(
    ("events", "verdicts", "running"),
    [*NUMBERED.values(), *UNNUMBERED.values()],
    ids=[*(f"numbered: {name}" for name in NUMBERED), *(f"without numbers: {name}" for name in UNNUMBERED)],
)
def test_what_becomes_of_messages_about_one_key(events, verdicts, running, in_one_batch):
    ledger = Ledger()
    assert (ledger.admit_batch(*events) if in_one_batch else ledger.admit(*events)) == verdicts
    assert {epoch for _, epoch in ledger.running()} == running


class TestNewRuns:
    def test_a_superseded_run_ends_in_the_same_batch_and_before_its_successor(self):
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement(), generation=4))
        ledger.admit(start(2))
        old, new = ledger.intake.changes()
        assert (old.run.stream.state, old.run.stream.reason) == (State.ENDED, Reason.SUPERSEDED)
        assert old.run.placements[0].state is PlacementState.STOPPING
        assert [(c.kind, c.epoch) for c in old.commands] == [(CommandKind.STOP, 1)]
        assert new.is_new
        assert (new.run.stream.epoch, new.run.stream.generation) == (2, 4)

    def test_epochs_without_numbers_are_minted_one_above_the_last_run(self):
        ledger = Ledger()
        ledger.put(make.run(State.CLOSED, epoch=41, announced_epoch=None))
        assert ledger.admit(start()) == [V.STARTED]
        assert ledger.newest.epoch == 42

    def test_the_fence_rises_even_when_another_source_counts_lower(self):
        ledger = Ledger()
        ledger.put(make.run(State.CLOSED, epoch=1000, announced_epoch=1000))
        assert ledger.admit(start(3, source_id=OTHER)) == [V.STARTED]
        assert (ledger.newest.epoch, ledger.newest.announced_epoch) == (1001, 3)

    def test_a_named_source_is_online_and_an_anonymous_one_unknown(self):
        ledger = Ledger()
        ledger.admit(start(1), start(key=Key("b"), source_id=ANONYMOUS))
        conditions = {r.stream.key: r.stream.condition(ConditionType.SOURCE_ONLINE) for r in ledger.runs.values()}
        assert conditions[make.KEY].status is ConditionStatus.TRUE
        assert conditions[Key("b")] is None


class TestOwnership:
    @pytest.mark.parametrize("epoch", [None, 9], ids=["without numbers", "numbered"])
    @pytest.mark.parametrize(
        ("state", "verdict"),
        [
            (State.LIVE, V.NOT_OWNER),
            (State.ENDED, V.NOT_OWNER),
            (State.CLOSED, V.STARTED),
        ],
        ids=["while it plays", "until what it ran is confirmed gone", "and then it is free"],
    )
    def test_a_key_belongs_to_its_source(self, state, verdict, epoch):
        ledger = Ledger()
        ledger.put(make.run(state, make.placement(PlacementState.STOPPING)))
        assert ledger.admit(start(epoch, source_id=OTHER)) == [verdict]

    def test_the_numbered_end_of_another_source_ends_only_its_own_future(self):
        ledger = Ledger()
        assert ledger.admit(start(1), end(1, source_id=OTHER)) == [V.STARTED, V.EARLY_END]
        assert ledger.running() == {(make.KEY, 1)}

    def test_figures_about_a_key_of_another_source_are_not_taken(self):
        ledger = Ledger()
        figures = StatsReported(OTHER, make.KEY, (("bitrate", 1.0),))
        assert ledger.admit(start(1), figures) == [V.STARTED, V.NOT_OWNER]
        assert ledger.intake.stats == {}


class TestRegression:
    """A new process of a source must count on; one that does not is told, never dropped in silence."""

    @pytest.mark.parametrize(
        "before",
        [
            pytest.param([start(5)], id="below the running epoch"),
            pytest.param([start(5), end(5)], id="below the epoch that ended"),
            pytest.param([start(1), end(5)], id="below an end that came before its start"),
        ],
    )
    def test_a_new_boot_below_the_known_epoch_is_asked_for_a_birth(self, before):
        ledger = Ledger()
        ledger.admit(*before)
        running = ledger.running()
        assert ledger.admit(start(1, 9, boot_id=NEW_BOOT)) == [V.REGRESSED]
        assert ledger.rebirths == {make.SOURCE}
        assert ledger.newest.condition(ConditionType.EPOCH_REGRESSED).status is ConditionStatus.TRUE
        assert ledger.running() == running

    def test_with_no_run_left_to_say_so_it_is_still_asked(self):
        ledger = Ledger()
        assert ledger.admit(end(5), start(4, boot_id=NEW_BOOT)) == [V.EARLY_END, V.REGRESSED]
        assert ledger.rebirths == {make.SOURCE}

    def test_a_new_boot_that_ends_what_it_never_saw_start_is_only_an_early_end(self):
        ledger = Ledger()
        assert ledger.admit(end(5), start(4, boot_id=None)) == [V.EARLY_END, V.ALREADY_ENDED]

    def test_the_condition_goes_with_the_next_announcement_that_counts(self):
        ledger = Ledger()
        ledger.admit(start(5), start(1, boot_id=NEW_BOOT), start(5, 2, boot_id=NEW_BOOT))
        assert ledger.newest.condition(ConditionType.EPOCH_REGRESSED) is None

    def test_the_same_boot_is_only_late(self):
        ledger = Ledger()
        assert ledger.admit(start(5), start(1)) == [V.STARTED, V.STALE]
        assert ledger.rebirths == set()


class TestOtherProcesses:
    """What comes late from a process that has died since begins all the same, and a birth is asked for that tells."""

    @pytest.mark.parametrize(
        ("said", "verdict", "asks"),
        [
            pytest.param(start(5), V.STARTED, True, id="a start of the process before"),
            pytest.param(start(4, 2, spec=make.OTHER_SPEC), V.UPDATED, True, id="a change by the process before"),
            pytest.param(start(5, boot_id=NEW_BOOT), V.STARTED, False, id="a start of this one"),
            pytest.param(start(5, boot_id=None), V.STARTED, False, id="a start that names no process"),
            pytest.param(start(4), V.REPEATED, False, id="what is known already"),
            pytest.param(birth(start(4), start(9, key=Key("cam-8"))), V.STALE, True, id="a birth of the one before"),
            pytest.param(birth(start(4), boot_id=NEW_BOOT), V.NOTED, False, id="a birth of this one"),
        ],
    )
    def test_a_birth_is_asked_for_when_it_may_be_dead(self, said, verdict, asks):
        ledger = Ledger()
        ledger.admit(status(online=True, boot_id=NEW_BOOT), birth(start(4, boot_id=NEW_BOOT), boot_id=NEW_BOOT))
        assert ledger.admit(said) == [verdict]
        assert ledger.rebirths == ({make.SOURCE} if asks else set())

    def test_two_births_end_what_only_a_dead_process_ran(self):
        ledger = Ledger()
        ledger.admit(status(online=True, boot_id=NEW_BOOT), birth(boot_id=NEW_BOOT, seq=1))
        ledger.admit(start(5))
        assert ledger.running() == {(make.KEY, 5)}
        ledger.admit(birth(boot_id=NEW_BOOT, seq=2))
        assert (ledger.newest.births_missed, ledger.rebirths) == (1, {make.SOURCE})
        ledger.admit(birth(boot_id=NEW_BOOT, seq=3))
        assert (ledger.newest.state, ledger.newest.reason) == (State.CLOSED, Reason.SOURCE_LOST)

    def test_births_of_two_processes_in_turn_end_nothing(self):
        """Of a source without statuses nobody can tell which of its processes lives: see seed 5505."""
        ledger = Ledger()
        ledger.admit(birth(boot_id=NEW_BOOT, seq=1), start(5, boot_id=NEW_BOOT))
        for late in (birth(boot_id=BOOT, seq=3), birth(boot_id=NEW_BOOT, seq=2), birth(boot_id=BOOT, seq=4)):
            ledger.admit(late)
            assert (ledger.newest.births_missed, ledger.rebirths) == (1, {make.SOURCE})
        ledger.admit(birth(start(5, boot_id=NEW_BOOT), boot_id=NEW_BOOT, seq=3))
        assert (ledger.newest.births_missed, ledger.running()) == (0, {(make.KEY, 5)})

    def test_births_of_a_dead_process_that_are_delivered_again_in_a_row_end_nothing(self):
        ledger = Ledger()
        dead = (birth(seq=1), birth(seq=2))
        ledger.admit(*dead, birth(boot_id=NEW_BOOT, seq=1), start(5, boot_id=NEW_BOOT))
        assert ledger.admit(*dead) == [V.STALE, V.REPEATED]
        assert (ledger.newest.births_missed, ledger.running()) == (0, {(make.KEY, 5)})
        assert ledger.sources[make.SOURCE].boot_id == NEW_BOOT

    @pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "without numbers"])
    def test_births_of_a_dead_process_that_come_late_end_nothing(self, numbered):
        """They were never heard before, but that another process has said since that it is online."""
        ledger = Ledger()
        ledger.admit(status(online=True), status(online=True, boot_id=NEW_BOOT), start(5, boot_id=NEW_BOOT))
        for number in (8, 9):
            ledger.now += 10
            assert ledger.admit(birth(start(4, key=Key("ghost")), seq=number if numbered else None)) == [V.STALE]
        assert (ledger.newest.births_missed, ledger.running()) == (0, {(make.KEY, 5)})

    def test_births_of_a_process_that_was_forgotten_end_nothing(self):
        """A restored database knows neither its births nor when it was online."""
        ledger = Ledger()
        ledger.admit(status(online=True, boot_id=NEW_BOOT), start(5, boot_id=NEW_BOOT))
        for number in (8, 9):
            assert ledger.admit(birth(seq=number)) == [V.STALE]
        assert (ledger.newest.births_missed, ledger.running()) == (0, {(make.KEY, 5)})
        assert ledger.rebirths == {make.SOURCE}, "it may be a new one, whose status comes late"

    def test_a_process_without_statuses_is_believed_where_the_one_before_has_gone(self):
        ledger = Ledger()
        ledger.admit(status(online=True), start(5), status(online=False))
        assert ledger.admit(birth(boot_id=NEW_BOOT, seq=1), birth(boot_id=NEW_BOOT, seq=2)) == [V.NOTED, V.NOTED]
        assert ledger.running() == set()

    def test_of_two_processes_that_take_turns_the_last_one_online_is_believed(self):
        """Two machines may keep one source alive, with one of them at work."""
        ledger = Ledger()
        ledger.admit(status(online=True), status(online=True, boot_id=NEW_BOOT), status(online=True))
        assert ledger.admit(birth(start(5), seq=1), birth(start(6), boot_id=NEW_BOOT, seq=1)) == [V.NOTED, V.STALE]
        assert ledger.running() == {(make.KEY, 5)}

    def test_of_a_source_that_was_never_heard_of_nothing_is_doubted(self):
        ledger = Ledger()
        assert ledger.admit(start(5), start(6, boot_id=NEW_BOOT)) == [V.STARTED, V.STARTED]
        assert ledger.rebirths == set()


class TestSources:
    def playing(self) -> Ledger:
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement()))
        ledger.admit(status(online=True))
        return ledger

    def test_the_will_of_the_present_boot_stalls_and_ends_nothing(self):
        ledger = self.playing()
        assert ledger.admit(status(online=False)) == [V.NOTED]
        assert ledger.newest.state is State.STALLED
        assert ledger.newest.condition(ConditionType.SOURCE_ONLINE).reason == "LastWill"
        assert not ledger.sources[make.SOURCE].is_online

    def test_the_will_of_an_old_boot_does_not_count(self):
        ledger = self.playing()
        ledger.admit(status(online=True, boot_id=NEW_BOOT))
        assert ledger.admit(status(online=False, boot_id=BOOT)) == [V.STALE]
        assert ledger.newest.state is State.LIVE

    def test_the_will_of_an_unknown_source_does_not_count(self):
        assert Ledger().admit(status(online=False)) == [V.STALE]

    def test_the_same_boot_online_again_brings_its_streams_back(self):
        ledger = self.playing()
        ledger.admit(status(online=False))
        ledger.now = 5
        ledger.admit(status(online=True))
        assert ledger.newest.state is State.LIVE
        assert ledger.sources[make.SOURCE].since == make.later(5)

    def test_since_stays_while_it_is_online(self):
        ledger = self.playing()
        ledger.now = 5
        ledger.admit(status(online=True))
        source = ledger.sources[make.SOURCE]
        assert (source.since, source.seen_at) == (make.NOW, make.later(5))

    def test_a_new_boot_online_brings_back_only_what_it_announces(self):
        ledger = self.playing()
        ledger.admit(status(online=False), status(online=True, boot_id=NEW_BOOT))
        assert ledger.newest.state is State.STALLED
        assert ledger.admit(start(1, 2, boot_id=NEW_BOOT)) == [V.REPEATED]
        assert ledger.newest.state is State.LIVE

    def test_an_old_announcement_proves_nothing_about_a_source_that_is_gone(self):
        ledger = self.playing()
        assert ledger.admit(status(online=False), start(1)) == [V.NOTED, V.REPEATED]
        assert ledger.newest.state is State.STALLED

    def test_an_announcement_without_numbers_brings_it_back(self):
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement(), announced_epoch=None, seq=0))
        ledger.admit(status(online=True), status(online=False), start())
        assert ledger.newest.state is State.LIVE

    def test_streams_of_other_sources_are_left_alone(self):
        ledger = self.playing()
        other = make.run(State.LIVE, id=StreamId("stream-x"), key=Key("b"), source_id=OTHER)
        ledger.put(other)
        ledger.admit(status(online=False))
        assert ledger.runs[other.stream.id] == other


class TestBirths:
    def playing(self, **fields) -> Ledger:
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement(), **fields))
        return ledger

    def test_what_a_birth_lists_and_the_books_lack_starts(self):
        ledger = Ledger()
        assert ledger.admit(birth(start(4))) == [V.NOTED]
        assert ledger.running() == {(make.KEY, 4)}

    def test_a_stream_that_one_birth_lacks_is_stalled(self):
        ledger = self.playing()
        ledger.admit(birth(seq=1))
        assert (ledger.newest.state, ledger.newest.births_missed) == (State.STALLED, 1)

    def test_a_source_whose_birth_lacks_a_stream_is_asked_for_another(self):
        """The second birth decides, and nobody else would ask for it."""
        ledger = self.playing()
        ledger.admit(birth(seq=1))
        assert ledger.rebirths == {make.SOURCE}
        ledger.rebirths.clear()
        ledger.admit(birth(seq=2))
        assert ledger.rebirths == set()

    def test_a_stream_that_two_births_lack_has_lost_its_source(self):
        ledger = self.playing()
        ledger.admit(birth(seq=1), birth(seq=2))
        assert (ledger.newest.state, ledger.newest.reason) == (State.ENDED, Reason.SOURCE_LOST)

    def test_a_redelivered_birth_counts_once(self):
        ledger = self.playing()
        assert ledger.admit(birth(seq=1), birth(seq=1)) == [V.NOTED, V.REPEATED]
        assert ledger.newest.state is State.STALLED

    def test_births_that_are_delivered_again_end_nothing_that_has_started_since(self):
        ledger = Ledger()
        ledger.admit(birth(seq=1), birth(seq=2), start(1))
        assert ledger.admit(birth(seq=1), birth(seq=2)) == [V.STALE, V.REPEATED]
        assert (ledger.newest.state, ledger.newest.births_missed) == (State.PENDING, 0)

    def test_births_without_seq_that_come_close_count_once(self):
        ledger = self.playing()
        ledger.admit(birth())
        ledger.now = 0.5
        assert ledger.admit(birth()) == [V.NOTED]
        assert ledger.newest.state is State.STALLED

    def test_births_without_seq_count_twice_after_a_while(self):
        ledger = self.playing()
        ledger.admit(birth())
        ledger.now = 2
        ledger.admit(birth())
        assert ledger.newest.state is State.ENDED

    def test_a_birth_of_another_process_counts_anew_and_asks_for_its_next(self):
        ledger = self.playing()
        ledger.admit(birth())
        ledger.rebirths.clear()
        ledger.admit(birth(boot_id=NEW_BOOT))
        assert (ledger.newest.state, ledger.newest.births_missed) == (State.STALLED, 1)
        assert ledger.rebirths == {make.SOURCE}
        ledger.now = 2
        ledger.admit(birth(boot_id=NEW_BOOT))
        assert ledger.newest.state is State.ENDED

    def test_a_first_birth_counts_although_the_source_is_known(self):
        ledger = self.playing()
        ledger.admit(status(online=True), birth())
        assert ledger.newest.births_missed == 1

    @pytest.mark.parametrize("seq", [0, 1, 2], ids=["an older seq", "the same seq", "a newer seq"])
    def test_a_stream_that_the_next_birth_lists_is_back(self, seq):
        ledger = self.playing()
        ledger.admit(birth(seq=1), birth(start(1, seq), seq=2))
        assert (ledger.newest.state, ledger.newest.births_missed) == (State.LIVE, 0)
        assert ledger.newest.condition(ConditionType.SOURCE_ONLINE).status is ConditionStatus.TRUE

    def test_only_births_in_a_row_count(self):
        ledger = self.playing()
        ledger.admit(birth(seq=1), birth(start(1), seq=2), birth(seq=3))
        assert ledger.newest.state is State.STALLED

    def test_a_birth_with_the_same_seq_may_correct_the_spec(self):
        ledger = self.playing()
        ledger.admit(birth(start(1, spec=make.OTHER_SPEC)))
        assert (ledger.newest.spec, ledger.newest.spec_generation) == (make.OTHER_SPEC, 2)

    def test_a_birth_does_not_resurrect_what_has_ended(self):
        ledger = self.playing()
        ledger.admit(end(1), birth(start(1), seq=1))
        assert ledger.newest.state is State.ENDED

    def test_a_birth_speaks_for_its_own_source_only(self):
        ledger = self.playing()
        ledger.admit(birth(seq=1, source=OTHER), birth(seq=2, source=OTHER))
        assert ledger.newest.state is State.LIVE

    def test_an_ended_stream_misses_no_births(self):
        ledger = Ledger()
        ledger.put(make.run(State.ENDED, make.placement(PlacementState.STOPPING)))
        ledger.admit(birth(seq=1), birth(seq=2))
        assert ledger.newest.births_missed == 0


class TestOperators:
    def test_a_stop_ends_exactly_the_run_it_names(self):
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement()))
        cause = Cause("operator:eve", "page")
        assert ledger.admit(StopRequested(make.ID, cause, "enough")) == [V.ENDED]
        assert (ledger.newest.reason, ledger.newest.reason_detail) == (Reason.OPERATOR_STOPPED, "enough")
        assert ledger.intake.changes()[0].transitions[0].cause == cause

    def test_a_stop_of_what_is_over_or_unknown_changes_nothing(self):
        ledger = Ledger()
        ledger.put(make.run(State.CLOSED))
        stop = StopRequested(make.ID, make.CAUSE)
        assert ledger.admit(stop, StopRequested(StreamId("nobody"), make.CAUSE)) == [V.ALREADY_ENDED, V.UNKNOWN]
        assert ledger.intake.changes() == ()


class TestTheRest:
    def test_figures_of_a_running_stream_are_kept_newest_wins(self):
        ledger = Ledger()
        figures = [StatsReported(make.SOURCE, make.KEY, (("bitrate", n),)) for n in (1.0, 2.0)]
        assert ledger.admit_batch(start(1), *figures) == [V.STARTED, V.NOTED, V.NOTED]
        assert ledger.intake.stats == {ledger.newest.id: (("bitrate", 2.0),)}

    @pytest.mark.parametrize("before", [[], [start(1), end(1)]], ids=["of an unknown key", "of an ended run"])
    def test_figures_without_a_stream_are_counted_only(self, before):
        ledger = Ledger()
        ledger.admit(*before)
        assert ledger.admit(StatsReported(make.SOURCE, make.KEY, ())) == [V.UNKNOWN]

    @pytest.mark.parametrize(("age_max", "loops"), [(3600, True), (None, False)], ids=["listened to", "switched off"])
    def test_old_newest_media_makes_a_stream_loop(self, age_max, loops):
        old = make.NOW.timestamp() - 7200
        limit = None if age_max is None else timedelta(seconds=age_max)
        run = make.run(State.LIVE, make.placement())
        intake = Intake(Books({make.KEY: run}), make.NOW, lambda: make.ID, live_last_max=limit)
        intake.admit(StatsReported(make.SOURCE, make.KEY, (("live_last", old), ("peers", 3.0))))
        assert bool(intake.changes()) is loops
        for change in intake.changes():
            assert change.run.stream.condition(ConditionType.LOOPING).status is ConditionStatus.TRUE

    def test_a_blocked_key_starts_nothing_and_says_who_tried(self):
        block = Block(make.KEY, make.ID, Reason.LOOP_DETECTED, "", make.NOW, make.later(60))
        intake = Intake(Books(blocks={make.KEY: block}), make.NOW, lambda: make.ID)
        verdicts = [intake.admit(start(epoch, source_id=source)) for epoch, source in ((1, make.SOURCE), (2, OTHER))]
        assert verdicts == [V.BLOCKED, V.BLOCKED]
        assert intake.blocked == {make.KEY: (OTHER, 2)}
        assert intake.admit(start(1, key=Key("free"))) is V.STARTED

    def test_what_cannot_be_read_goes_to_quarantine(self):
        ledger = Ledger()
        refused = MessageRefused("penstock/v1/x", b"{", 1, "not JSON")
        assert ledger.admit(refused) == [V.REFUSED]
        assert ledger.intake.refusals == [refused]

    def test_a_batch_that_changes_nothing_writes_nothing(self):
        ledger = Ledger()
        ledger.put(make.run(State.LIVE, make.placement()))
        ledger.admit(start(1), end(1, 0))
        assert ledger.intake.changes() == ()


@st.composite
def histories(draw):
    """One source's messages in the order it made them: runs of two keys, some updated, some ended, some still on."""
    events = []
    for key in (Key("a"), Key("b")):
        epoch = 0
        for _ in range(draw(st.integers(0, 3))):
            epoch += draw(st.integers(1, 3))
            updates = draw(st.integers(0, 2))
            events.extend(start(epoch, seq, key=key) for seq in range(1, updates + 2))
            if draw(st.booleans()):
                events.append(end(epoch, updates + 2, key=key))
    return events


@settings(max_examples=300, deadline=None)
@given(data=st.data(), history=histories())
def test_whatever_the_order_of_arrival_the_same_runs_play(data, history):
    in_order = Ledger()
    in_order.admit(*history)
    doubled = history + data.draw(st.lists(st.sampled_from(history), max_size=5) if history else st.just([]))
    arrivals = data.draw(st.permutations(doubled))
    shuffled = Ledger()
    for event in arrivals:
        before = shuffled.running()
        shuffled.admit(event)
        if isinstance(event, StreamEndAnnounced):
            lost = before - shuffled.running()
            assert lost <= {(event.key, event.order.epoch)}, "an end ends no other stream"
    assert shuffled.running() == in_order.running()


@settings(max_examples=100, deadline=None)
@given(history=histories(), cuts=st.lists(st.booleans(), max_size=30))
def test_batches_of_any_size_say_the_same(history, cuts):
    one_by_one, batched = Ledger(), Ledger()
    verdicts = one_by_one.admit(*history)
    answered, batch = [], []
    for index, event in enumerate(history):
        batch.append(event)
        if index >= len(cuts) or cuts[index]:
            answered += batched.admit_batch(*batch)
            batch = []
    answered += batched.admit_batch(*batch)
    assert answered == verdicts
    assert batched.running() == one_by_one.running()
    assert batched.floors == one_by_one.floors
