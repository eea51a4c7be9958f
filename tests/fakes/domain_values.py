"""Values of the domain with sensible defaults, for tests that care about one or two of their fields."""

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.domain.model import (
    BootId,
    Cause,
    Key,
    Output,
    Placement,
    PlacementState,
    ProxyId,
    Reason,
    Run,
    SourceId,
    State,
    Stream,
    StreamId,
    StreamSpec,
    Upstream,
)
from controller.domain.observation import Freshness, ProxyView, Session, SessionState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CAUSE = Cause("source:enc-1", "a message")
SOURCE = SourceId("enc-1")
KEY = Key("cam-7")
ID = StreamId("stream-1")
P1, P2, P3 = ProxyId("p1"), ProxyId("p2"), ProxyId("p3")
BOOT = BootId("boot-1")
SPEC = StreamSpec((Upstream("http://origin/a.ts"),))
OTHER_SPEC = StreamSpec((Upstream("http://origin/b.ts"),))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stream(state: State = State.LIVE, **fields: Any) -> Stream:
    """A stream that the database would accept: ended ones have their times and a reason."""
    if state in (State.ENDED, State.CLOSED):
        reason = fields.setdefault("reason", Reason.SOURCE_ENDED)
        fields = {"ended_at": NOW, "outcome": reason.outcome, **fields}
    if state is State.CLOSED:
        fields.setdefault("closed_at", NOW)
    defaults: dict[str, Any] = {
        "id": ID,
        "key": KEY,
        "source_id": SOURCE,
        "epoch": 1,
        "announced_epoch": 1,
        "seq": 1,
        "source_boot_id": "src-boot-1",
        "spec": SPEC,
        "created_at": NOW,
        "state_since": NOW,
        "generation": 1,
    }
    return Stream(state=state, **{**defaults, **fields})


def placement(state: PlacementState = PlacementState.OBSERVED, **fields: Any) -> Placement:
    defaults: dict[str, Any] = {
        "stream_id": ID,
        "generation": 1,
        "proxy_id": P1,
        "boot_id": BOOT,
        "spec_generation": 1,
        "requested_at": NOW,
        "observed_at": NOW if state is PlacementState.OBSERVED else None,
        "stopping_at": NOW if state is PlacementState.STOPPING else None,
    }
    return Placement(state=state, **{**defaults, **fields})


def run(state: State = State.LIVE, *placements: Placement, **fields: Any) -> Run:
    return Run(stream(state, **fields), placements)


def session(state: SessionState = SessionState.FLOWING, **fields: Any) -> Session:
    defaults: dict[str, Any] = {
        "stream_id": ID,
        "key": KEY,
        "epoch": 1,
        "generation": 1,
        "outputs": (Output.TS, Output.HLS),
        "wanted": state is not SessionState.IDLE,
        "delivered": state is SessionState.FLOWING,
    }
    return Session(state=state, **{**defaults, **fields})


def view(*sessions: Session, **fields: Any) -> ProxyView:
    defaults: dict[str, Any] = {
        "proxy_id": P1,
        "url": "http://p1:8081",
        "freshness": Freshness.FRESH,
        "boot_id": BOOT,
        "sequence": 10,
        "observed_at": NOW,
    }
    return ProxyView(sessions=sessions, **{**defaults, **fields})
