"""Drafts: what was decided, folded into one change."""

from datetime import timedelta

import pytest

from controller.domain import lifecycle
from controller.domain.events import Order, StreamAnnounced
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event, Facts
from controller.domain.model import (
    BootId,
    Cause,
    CommandKind,
    ConditionStatus,
    ConditionType,
    Outcome,
    PlacementState,
    Reason,
    State,
)
from controller.errors import EventRefusedError
from tests.fakes import domain_values as make

LATER = make.later(60)
FLOWING = ConditionType.FLOWING


def announced(**fields) -> StreamAnnounced:
    defaults = {"spec": make.SPEC, "order": Order(5, 3), "boot_id": "src-boot-1"}
    return StreamAnnounced(make.SOURCE, make.KEY, cause=make.CAUSE, **{**defaults, **fields})


def draft_of(*args, **fields) -> Draft:
    return Draft(make.run(*args, **fields), make.CAUSE, LATER)


def test_a_draft_that_nothing_was_decided_about_writes_nothing():
    assert draft_of(State.LIVE, make.placement()).change() is None


def test_a_draft_that_decides_what_is_so_already_writes_nothing():
    draft = draft_of(State.LIVE, make.placement(PlacementState.STOPPING), births_missed=0)
    draft.mark_stopping(1)
    draft.set_births_missed(0)
    draft.set_seq(0)
    draft.ratchet_generation(1)
    draft.clear_condition(FLOWING)
    draft.forget_failures()
    assert draft.change() is None


def test_everything_that_was_decided_is_one_change():
    draft = draft_of(State.LIVE, make.placement(), make.placement(generation=2), generation=2)
    draft.mark_gone(1)
    draft.send(Event.SOURCE_LOST, detail="silent")
    draft.place(make.P2, BootId("boot-2"), generation=3, why="moved")
    change = draft.change()
    assert change is not None
    assert not change.is_new
    assert [(p.generation, p.state) for p in change.placements] == [
        (1, PlacementState.GONE),
        (3, PlacementState.REQUESTED),
    ]
    assert [p.generation for p in change.run.placements] == [2, 3]
    assert [t.to_state for t in change.transitions] == [State.STALLED]
    assert [c.generation for c in change.commands] == [3]
    assert change.run == draft.run


def test_the_version_belongs_to_the_store():
    draft = draft_of(State.LIVE, make.placement(), version=7)
    draft.send(Event.END)
    assert draft.run.stream.version == 7


def test_a_move_that_the_table_lacks_is_refused_and_decides_nothing():
    draft = draft_of(State.ENDED, make.placement(PlacementState.STOPPING))
    with pytest.raises(EventRefusedError):
        draft.send(Event.PLACED)
    assert draft.change() is None


class TestCommands:
    def test_a_start_names_its_exact_target_and_carries_the_spec(self):
        draft = draft_of(State.PENDING, epoch=9, generation=4)
        draft.place(make.P2, BootId("boot-2"), generation=5, why="no placement")
        (command,) = draft.change().commands
        assert (command.kind, command.proxy_id, command.boot_id) == (CommandKind.ENSURE, make.P2, "boot-2")
        assert (command.stream_id, command.key, command.epoch, command.generation) == (make.ID, make.KEY, 9, 5)
        assert (command.spec, command.why) == (make.SPEC, "no placement")

    def test_a_stop_names_the_process_it_was_made_for_and_carries_no_spec(self):
        draft = draft_of(State.LIVE, make.placement(boot_id=BootId("old"), generation=3), epoch=9, generation=8)
        draft.send(Event.END)
        (command,) = draft.change().commands
        assert (command.kind, command.proxy_id, command.boot_id) == (CommandKind.STOP, make.P1, "old")
        assert (command.epoch, command.generation, command.spec) == (9, 3, None)
        assert command.why == "end: source_ended"

    def test_one_is_queued_for_a_placement_by_hand(self):
        draft = draft_of(State.LIVE, make.placement())
        draft.command(CommandKind.STOP, 1, "because")
        assert [c.why for c in draft.change().commands] == ["because"]


class TestPlacing:
    def test_a_placement_is_asked_for_at_the_spec_of_now(self):
        draft = draft_of(State.PENDING, generation=4, spec_generation=2, retry_at=make.NOW)
        draft.place(make.P1, make.BOOT, generation=7, why="no placement")
        placement = draft.run.placement(7)
        assert placement.state is PlacementState.REQUESTED
        assert (placement.requested_at, placement.spec_generation) == (LATER, 2)
        assert (draft.run.stream.generation, draft.run.stream.retry_at) == (7, None)
        assert draft.run.stream.state is State.STARTING

    def test_a_generation_is_never_used_twice(self):
        with pytest.raises(AssertionError):
            draft_of(State.STARTING, generation=4).place(make.P1, make.BOOT, generation=4, why="again")

    def test_generations_only_rise(self):
        draft = draft_of(generation=4)
        draft.ratchet_generation(9)
        draft.ratchet_generation(2)
        assert draft.run.stream.generation == 9

    def test_a_placement_is_observed_then_stopping_then_gone_each_with_its_time(self):
        draft = draft_of(State.LIVE, make.placement(PlacementState.REQUESTED))
        draft.mark_observed(1)
        assert draft.run.placement(1).observed_at == LATER
        draft.mark_stopping(1)
        assert (draft.run.placement(1).state, draft.run.placement(1).stopping_at) == (PlacementState.STOPPING, LATER)
        draft.mark_gone(1)
        assert draft.run.placement(1) is None
        assert draft.change().placements[0].gone_at == LATER

    def test_stopping_twice_keeps_the_first_time(self):
        draft = draft_of(State.LIVE, make.placement(PlacementState.STOPPING))
        draft.mark_stopping(1)
        assert draft.run.placement(1).stopping_at == make.NOW

    def test_a_late_reply_does_not_make_an_older_list_count_again(self):
        draft = draft_of(State.LIVE, make.placement(PlacementState.STOPPING))
        draft.mark_replied(1, 9, to_stop=True)
        draft.mark_replied(1, 4, to_stop=False)
        assert (draft.run.placement(1).reply_sequence, draft.run.placement(1).stop_replied) == (9, True)


class TestEnding:
    def test_an_end_keeps_its_reason_its_outcome_and_its_cause(self):
        draft = draft_of(State.LIVE, make.placement(), retry_at=make.NOW)
        draft.because(Cause("operator:eve", "DELETE /streams")).send(Event.STOP, detail="too loud")
        change = draft.change()
        stream = change.run.stream
        assert (stream.reason, stream.reason_detail, stream.outcome) == (
            Reason.OPERATOR_STOPPED,
            "too loud",
            Outcome.COMPLETED,
        )
        assert (stream.ended_at, stream.state_since, stream.closed_at, stream.retry_at) == (LATER, LATER, None, None)
        (transition,) = change.transitions
        assert (transition.event, transition.from_state, transition.to_state) == ("stop", State.LIVE, State.ENDED)
        assert (transition.reason, transition.cause.actor, transition.at) == (
            Reason.OPERATOR_STOPPED,
            "operator:eve",
            LATER,
        )
        stopped = stream.condition(ConditionType.SESSIONS_STOPPED)
        assert (stopped.status, stopped.reason) == (ConditionStatus.FALSE, "Stopping")

    def test_whoever_sends_the_event_may_know_a_better_reason(self):
        draft = draft_of(State.LIVE, make.placement())
        draft.send(Event.END, reason=Reason.SOURCE_LOST)
        assert (draft.run.stream.reason, draft.run.stream.outcome) == (Reason.SOURCE_LOST, Outcome.FAILED)

    def test_an_end_with_nothing_placed_is_confirmed_in_the_same_change(self):
        draft = draft_of(State.STALLED)
        draft.set_condition(ConditionType.PLACED, ConditionStatus.TRUE, "Observed")
        draft.set_condition(FLOWING, ConditionStatus.TRUE, "Flowing")
        draft.send(Event.END)
        change = draft.change()
        assert change.run.stream.state is State.CLOSED
        assert (change.run.stream.ended_at, change.run.stream.closed_at) == (LATER, LATER)
        assert [(t.event, t.to_state, t.reason) for t in change.transitions] == [
            ("end", State.ENDED, Reason.SOURCE_ENDED),
            ("all_gone", State.CLOSED, None),
        ]
        conditions = [(c.type, c.status) for c in change.run.stream.conditions]
        assert conditions == [(ConditionType.SESSIONS_STOPPED, ConditionStatus.TRUE)], "it says nothing untrue"

    def test_a_finish_that_is_not_final_ends_nothing(self):
        draft = draft_of(State.LIVE, make.placement())
        assert draft.send(Event.SESSION_FINISHED, Facts(finish_is_final=False)) is State.STARTING
        assert draft.run.stream.reason is None


class TestFacts:
    @pytest.mark.parametrize(
        ("placement", "state"), [(PlacementState.OBSERVED, State.LIVE), (PlacementState.REQUESTED, State.STARTING)]
    )
    def test_a_source_that_is_back_finds_its_stream_live_if_its_session_was_seen(self, placement, state):
        assert draft_of(State.STALLED, make.placement(placement)).send(Event.SOURCE_BACK) is state

    def test_bytes_that_flow_again_do_not_bring_a_lost_source_back(self):
        draft = draft_of(State.STALLED, make.placement())
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.FALSE, "LastWill")
        assert draft.send(Event.FLOW_BACK) is State.STALLED
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Online")
        assert draft.send(Event.FLOW_BACK) is State.LIVE


class TestConditions:
    def conditioned(self) -> Draft:
        draft = Draft(make.run(State.LIVE, spec_generation=3), make.CAUSE, make.NOW)
        draft.set_condition(FLOWING, ConditionStatus.TRUE, "Flowing", "fine")
        return Draft(draft.run, make.CAUSE, LATER)

    def test_since_moves_with_the_status(self):
        draft = self.conditioned()
        draft.set_condition(FLOWING, ConditionStatus.FALSE, "Stalled")
        assert draft.run.stream.condition(FLOWING).since == LATER

    def test_since_stays_while_only_the_words_change(self):
        draft = self.conditioned()
        draft.set_condition(FLOWING, ConditionStatus.TRUE, "Flowing", "still fine")
        condition = draft.run.stream.condition(FLOWING)
        assert (condition.since, condition.message, condition.observed_generation) == (make.NOW, "still fine", 3)

    def test_the_same_condition_again_is_no_change(self):
        draft = self.conditioned()
        draft.set_condition(FLOWING, ConditionStatus.TRUE, "Flowing", "fine")
        assert draft.change() is None

    def test_one_of_each_kind_in_one_order(self):
        draft = self.conditioned()
        draft.set_condition(ConditionType.SOURCE_ONLINE, ConditionStatus.TRUE, "Online")
        draft.set_condition(ConditionType.EPOCH_REGRESSED, ConditionStatus.TRUE, "Boot")
        draft.set_condition(FLOWING, ConditionStatus.FALSE, "Stalled")
        kinds = [condition.type for condition in draft.run.stream.conditions]
        assert kinds == [ConditionType.EPOCH_REGRESSED, FLOWING, ConditionType.SOURCE_ONLINE]

    def test_a_cleared_one_is_unknown(self):
        draft = self.conditioned()
        draft.clear_condition(FLOWING)
        assert draft.run.stream.condition(FLOWING) is None


class TestFailures:
    def test_a_failure_is_counted_and_the_next_placement_waits(self):
        draft = draft_of(failures=2)
        draft.count_failure(timedelta(seconds=4))
        assert (draft.run.stream.failures, draft.run.stream.retry_at) == (3, make.later(64))

    def test_bytes_make_them_forgotten(self):
        draft = draft_of(failures=2)
        draft.forget_failures()
        assert draft.run.stream.failures == 0


class TestAnnouncements:
    def test_a_run_begins_pending_with_a_first_row_of_history(self):
        event = announced(labels=(("room", "7"),), stall_timeout_seconds=9.0, expires_in_seconds=30.0)
        change = lifecycle.begin(event, make.ID, epoch=5, generation=4, now=LATER).change()
        stream = change.run.stream
        assert change.is_new
        assert (stream.state, stream.epoch, stream.announced_epoch, stream.seq) == (State.PENDING, 5, 5, 3)
        assert (stream.generation, stream.spec_generation, stream.version) == (4, 1, 0)
        assert (stream.labels, stream.stall_timeout_seconds, stream.expires_at) == (
            (("room", "7"),),
            9.0,
            make.later(90),
        )
        assert [(t.event, t.from_state, t.to_state) for t in change.transitions] == [("announced", None, State.PENDING)]
        assert stream.condition(ConditionType.PLACED).reason == "Waiting"

    def test_a_run_without_numbers_has_only_the_epoch_that_was_minted_for_it(self):
        event = announced(order=None, boot_id=None)
        stream = lifecycle.begin(event, make.ID, epoch=2, generation=0, now=LATER).run.stream
        assert (stream.epoch, stream.announced_epoch, stream.seq, stream.source_boot_id) == (2, None, 0, "")
        assert stream.expires_at is None

    def test_another_spec_is_another_spec_generation(self):
        draft = draft_of(spec_generation=3)
        draft.update(announced(spec=make.OTHER_SPEC))
        assert (draft.run.stream.spec, draft.run.stream.spec_generation) == (make.OTHER_SPEC, 4)

    def test_the_same_spec_is_the_same_spec_generation(self):
        draft = draft_of(spec_generation=3, births_missed=1, expires_at=make.NOW, seq=9)
        draft.update(announced(boot_id="src-boot-2", expires_in_seconds=10.0, order=Order(1, 4)))
        stream = draft.run.stream
        assert (stream.spec_generation, stream.births_missed, stream.expires_at) == (3, 0, make.later(70))
        assert (stream.seq, stream.source_boot_id) == (9, "src-boot-2")

    def test_an_announcement_without_number_or_boot_keeps_what_is_known_of_both(self):
        draft = draft_of(seq=9)
        draft.update(announced(boot_id=None, order=None))
        assert (draft.run.stream.seq, draft.run.stream.source_boot_id) == (9, "src-boot-1")

    def test_sequence_numbers_only_rise(self):
        draft = draft_of(seq=3)
        draft.set_seq(5)
        draft.set_seq(4)
        assert draft.run.stream.seq == 5
