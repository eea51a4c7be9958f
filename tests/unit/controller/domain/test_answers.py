"""What a proxy's answer means, outcome by outcome."""

import pytest

from controller.domain import answers
from controller.domain.lifecycle import Draft
from controller.domain.machine import Event
from controller.domain.model import (
    BootId,
    Command,
    CommandKind,
    ConditionStatus,
    ConditionType,
    PlacementState,
    Reply,
    ReplyOutcome,
    Run,
    State,
)
from controller.domain.retry import Backoff
from tests.fakes import domain_values as make

REQUESTED, OBSERVED, STOPPING = PlacementState.REQUESTED, PlacementState.OBSERVED, PlacementState.STOPPING
Is = ReplyOutcome
STARTS = [Is.STARTED, Is.REPLACED, Is.UNCHANGED]
STOPS = [Is.STOPPED, Is.NOT_FOUND, Is.NEWER_EXISTS]


def command(kind: CommandKind, generation: int = 1, **fields) -> Command:
    defaults = {"proxy_id": make.P1, "boot_id": make.BOOT, "stream_id": make.ID, "key": make.KEY, "epoch": 1}
    return Command(kind, generation=generation, **{**defaults, **fields})


ENSURE, STOP = command(CommandKind.ENSURE), command(CommandKind.STOP)


def fold(run: Run, asked: Command, outcome: ReplyOutcome, **fields) -> Draft:
    draft = Draft(run, make.CAUSE, make.later(1))
    reply = Reply(outcome, boot_id=make.BOOT, sequence=7, token_highest=0, **fields)
    answers.fold(draft, asked, reply, Backoff())
    return draft


def starting(state: PlacementState = REQUESTED, **fields) -> Run:
    return make.run(State.STARTING, make.placement(state), **fields)


@pytest.mark.parametrize("outcome", STARTS)
@pytest.mark.parametrize("state", [REQUESTED, OBSERVED])
def test_a_start_that_was_taken_makes_older_lists_worthless_and_nothing_live(outcome, state):
    run = fold(starting(state), ENSURE, outcome).run
    assert (run.placements[0].state, run.placements[0].reply_sequence) == (state, 7)
    assert run.stream.state is State.STARTING


@pytest.mark.parametrize("outcome", STOPS)
def test_a_stop_that_was_answered_makes_older_lists_worthless_and_nothing_closed(outcome):
    run = fold(make.run(State.ENDED, make.placement(STOPPING)), STOP, outcome).run
    assert (run.placements[0].stop_replied, run.placements[0].reply_sequence) == (True, 7)
    assert (run.stream.state, run.placements[0].state) == (State.ENDED, STOPPING)


def test_a_stop_of_another_boot_waits_for_the_list_that_says_so():
    run = make.run(State.ENDED, make.placement(STOPPING))
    assert fold(run, STOP, Is.WRONG_BOOT).change() is None


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Is.WRONG_BOOT, "ProxyRestarted"), (Is.NEWER_EXISTS, "NewerExists"), (Is.REFUSED, "Refused")],
)
def test_a_start_that_cannot_be_is_given_up(outcome, reason):
    draft = fold(starting(), ENSURE, outcome, detail="no room")
    assert draft.run.placements == ()
    placed = draft.run.stream.condition(ConditionType.PLACED)
    assert (placed.status, placed.reason, placed.message) == (ConditionStatus.FALSE, reason, "proxy p1: no room")
    assert draft.run.stream.state is State.STARTING


def test_without_words_the_outcome_is_the_message():
    draft = fold(starting(), ENSURE, Is.REFUSED)
    assert draft.run.stream.condition(ConditionType.PLACED).message == "proxy p1: refused"


def test_a_start_in_conflict_is_not_gone_for_something_runs_there():
    draft = fold(starting(), ENSURE, Is.SPEC_CONFLICT)
    assert draft.run.placements[0].state is STOPPING
    assert draft.run.stream.condition(ConditionType.PLACED).reason == "SpecConflict"
    assert draft.send(Event.END) is State.ENDED, "and not CLOSED on the word of a reply"


@pytest.mark.parametrize("outcome", [Is.WRONG_BOOT, Is.NEWER_EXISTS, Is.REFUSED, Is.SPEC_CONFLICT])
def test_a_session_that_was_seen_is_given_up_by_lists_only(outcome):
    assert fold(starting(OBSERVED), ENSURE, outcome).run.placements[0].state is OBSERVED


@pytest.mark.parametrize(
    ("held", "generation", "failures"),
    [
        pytest.param({"held_epoch": 1, "held_generation": 6}, 6, 0, id="a generation ahead: go on above it at once"),
        pytest.param({"held_epoch": 2, "held_generation": 6}, 1, 1, id="a newer epoch: nothing helps but time"),
        pytest.param({}, 1, 1, id="it does not say: wait"),
        pytest.param({"held_epoch": 1}, 1, 1, id="it says half of it: wait"),
    ],
)
def test_a_proxy_that_knows_newer_fences(held, generation, failures):
    stream = fold(starting(), ENSURE, Is.NEWER_EXISTS, **held).run.stream
    assert (stream.generation, stream.failures) == (generation, failures)
    assert (stream.retry_at is None) is (failures == 0)


def test_a_refusal_makes_the_next_try_wait_longer_each_time():
    assert fold(starting(failures=0), ENSURE, Is.REFUSED).run.stream.retry_at == make.later(1.5)
    assert fold(starting(failures=3), ENSURE, Is.REFUSED).run.stream.retry_at == make.later(5)


@pytest.mark.parametrize("outcome", [*STARTS, Is.REFUSED])
def test_a_late_reply_to_a_start_that_is_no_longer_wanted_only_dates_the_lists(outcome):
    draft = fold(starting(STOPPING), ENSURE, outcome)
    placement = draft.run.placements[0]
    assert (placement.state, placement.reply_sequence, placement.stop_replied) == (STOPPING, 7, False)
    assert draft.run.stream.failures == 0


def test_a_late_reply_of_another_boot_dates_nothing():
    assert fold(starting(STOPPING), ENSURE, Is.WRONG_BOOT).change() is None


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(command(CommandKind.STOP, generation=9), id="a generation that has no placement"),
        pytest.param(command(CommandKind.STOP, proxy_id=make.P2), id="an orphan on another proxy"),
        pytest.param(command(CommandKind.STOP, boot_id=BootId("boot-0")), id="an orphan of another process"),
    ],
)
def test_a_reply_about_something_else_changes_nothing(asked):
    assert fold(make.run(State.ENDED, make.placement(STOPPING)), asked, Is.STOPPED).change() is None


def test_a_stale_token_is_no_answer():
    with pytest.raises(AssertionError):
        fold(starting(), ENSURE, Is.STALE_TOKEN)


@pytest.mark.parametrize("outcome", [o for o in ReplyOutcome if o is not Is.STALE_TOKEN])
@pytest.mark.parametrize("asked", [ENSURE, STOP], ids=["start", "stop"])
@pytest.mark.parametrize("state", [REQUESTED, OBSERVED, STOPPING])
def test_no_answer_alone_changes_the_state_of_a_run(state, asked, outcome):
    for before in State:
        assert fold(make.run(before, make.placement(state)), asked, outcome).run.stream.state is before
