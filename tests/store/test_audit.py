"""The reading for the comparison: every wish, and the gone ones of the streams asked about."""

from controller.domain.events import StopRequested, StreamAnnounced
from controller.domain.lifecycle import Draft
from controller.domain.model import (
    ANONYMOUS,
    BootId,
    Cause,
    Key,
    Output,
    PlacementState,
    ProxyId,
    StreamId,
    StreamSpec,
    Upstream,
)
from controller.store import audit, record, streams
from controller.store.dialects import db_now
from controller.store.engine import Database, Session

CAUSE = Cause("source:anonymous", "a topic")
SPEC = StreamSpec((Upstream("http://origin/a"),), (Output.TS,))
A, B = StreamId("a-1"), StreamId("b-1")


def place(session: Session, stream_id: StreamId, *, is_gone: bool) -> None:
    now = db_now(session)
    draft = Draft(streams.load_runs(session, [stream_id])[stream_id], CAUSE, now)
    draft.place(ProxyId("p1"), BootId("boot"), generation=1, why="no placement")
    draft.mark_replied(1, 7, to_stop=False)
    if is_gone:
        draft.mark_stopping(1)
        draft.mark_gone(1)
    changed = draft.change()
    assert changed is not None
    streams.save(session, [changed], now=now)


async def fill(database: Database) -> None:
    ids = iter([A, B])
    events = [StreamAnnounced(ANONYMOUS, Key(key), SPEC, CAUSE) for key in ("b", "a")]
    await database.write(record.record_now, events, new_id=lambda: next(ids))
    await database.write(place, A, is_gone=False)
    await database.write(place, B, is_gone=True)


async def test_every_wish_is_read_and_gone_ones_only_when_asked_for(database: Database) -> None:
    await fill(database)
    plain = await database.read(audit.read)
    assert plain.open_keys == ("a", "b")
    assert set(plain.wishes) == {(A, 1, 1)}
    asked = await database.read(audit.read, [A, B, StreamId("unknown")])
    assert {fence: wish.state for fence, wish in asked.wishes.items()} == {
        (A, 1, 1): PlacementState.REQUESTED,
        (B, 1, 1): PlacementState.GONE,
    }
    wish = asked.wishes[A, 1, 1]
    assert (wish.key, wish.outputs, wish.is_current, wish.run_is_active) == ("b", {Output.TS}, True, True)
    assert (wish.reply_sequence, wish.stopping_at, wish.gone_at) == (7, None, None)
    gone = asked.wishes[B, 1, 1]
    assert gone.gone_at is not None
    assert gone.stopping_at is not None


async def test_a_changed_spec_and_an_end_show_in_the_wish(database: Database) -> None:
    await fill(database)
    other = StreamSpec(SPEC.upstreams, (Output.HLS,))
    await database.write(
        record.record_now, [StreamAnnounced(ANONYMOUS, Key("b"), other, CAUSE)], new_id=lambda: StreamId("none")
    )
    updated = (await database.read(audit.read)).wishes[A, 1, 1]
    assert (updated.outputs, updated.is_current) == ({Output.HLS}, False)
    await database.write(record.record_now, [StopRequested(A, CAUSE)], new_id=lambda: StreamId("none"))
    ended = (await database.read(audit.read)).wishes[A, 1, 1]
    assert (ended.state, ended.run_is_active) == (PlacementState.STOPPING, False)


async def test_a_closed_stream_is_not_among_the_open_keys(database: Database) -> None:
    await fill(database)
    await database.write(record.record_now, [StopRequested(B, CAUSE)], new_id=lambda: StreamId("none"))
    assert (await database.read(audit.read)).open_keys == ("b",)
