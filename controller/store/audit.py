"""What the database wishes, read for a comparison that somebody asked for: every wish, and nothing that is decided on.

Unlike ``streams.desired`` it also tells of placements that are gone, for the streams it is asked about, so that a
session seen a moment ago can be told from one that nobody ever asked for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, select
from sqlalchemy.orm import Session

from controller.domain.model import BootId, Key, Output, PlacementState, ProxyId, State, StreamId
from controller.store import batches, rows
from controller.store.tables import placements, streams


@dataclass(frozen=True, slots=True)
class Wish:
    """One placement, with what its run says about it."""

    stream_id: StreamId
    key: Key
    epoch: int
    generation: int
    proxy_id: ProxyId
    boot_id: BootId
    state: PlacementState
    run_is_active: bool
    outputs: frozenset[Output]
    """Of the run's newest spec."""
    is_current: bool
    """Whether it was made for the run's newest spec."""
    requested_at: datetime
    stopping_at: datetime | None
    gone_at: datetime | None
    reply_sequence: int | None


Fence = tuple[StreamId, int, int]
"""(stream, epoch, generation)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The database at one moment."""

    open_keys: tuple[Key, ...]
    """The keys of every run that is not CLOSED, in order."""
    wishes: Mapping[Fence, Wish]
    """Every placement that is not gone, and the gone ones of the streams that were asked about."""


def read(session: Session, stream_ids: Collection[StreamId] = ()) -> Reading:
    """Read every wish, and the gone ones of these streams, in one snapshot."""
    open_keys = session.execute(select(streams.c.key).where(streams.c.state != State.CLOSED).distinct()).scalars()
    found = [_wish_from(row) for row in session.execute(_NOT_GONE).all()]
    for part in batches.parts(stream_ids):
        found += [_wish_from(row) for row in session.execute(_GONE, {"values": part}).all()]
    wishes = {(wish.stream_id, wish.epoch, wish.generation): wish for wish in found}
    return Reading(tuple(sorted(Key(key) for key in open_keys)), wishes)


_WISH: Select[Any] = select(
    placements.c.stream_id,
    placements.c.generation,
    placements.c.proxy_id,
    placements.c.boot_id,
    placements.c.state,
    placements.c.spec_generation,
    placements.c.requested_at,
    placements.c.stopping_at,
    placements.c.gone_at,
    placements.c.reply_sequence,
    streams.c.key,
    streams.c.epoch,
    streams.c.state.label("run_state"),
    streams.c.spec_generation.label("spec_newest"),
    streams.c.spec,
).join_from(placements, streams, placements.c.stream_id == streams.c.id)

_NOT_GONE = _WISH.where(placements.c.state != PlacementState.GONE)
_GONE = _WISH.where(
    placements.c.state == PlacementState.GONE, placements.c.stream_id.in_(bindparam("values", expanding=True))
)


def _wish_from(row: Row[Any]) -> Wish:
    # Taken by place, as in _WISH: by name each of them would cost as much as all together.
    stream_id, generation, proxy_id, boot_id, state, spec_generation, *times, key, epoch, run_state, newest, spec = (
        tuple(row)
    )
    requested_at, stopping_at, gone_at, reply_sequence = times
    return Wish(
        stream_id=StreamId(stream_id),
        key=Key(key),
        epoch=epoch,
        generation=generation,
        proxy_id=ProxyId(proxy_id),
        boot_id=BootId(boot_id),
        state=rows.PLACEMENT_STATES[state],
        run_is_active=rows.STATES[run_state].is_active,
        outputs=frozenset([rows.OUTPUTS[output] for output in spec["outputs"]]),
        is_current=spec_generation == newest,
        requested_at=requested_at,
        stopping_at=stopping_at,
        gone_at=gone_at,
        reply_sequence=reply_sequence,
    )
