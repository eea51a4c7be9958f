"""Every kind of drift: what proves it, how dangerous its repair is, how long it waits, what may hold it back.

The planner reads its classes, graces and budgets from this table, and ``docs/reference/drift.md`` is made from it. The
numbers are those of the taxonomy that the kinds were taken from; ``NUMBERS`` says of each where it is seen to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class DriftClass(StrEnum):
    """How dangerous the repair is."""

    ADDITIVE = "A"
    """Starts something that is missing."""
    EVIDENCED = "E"
    """Stops something, and a row of the database says that it is over."""
    UNEVIDENCED = "N"
    """Would stop something of which the database knows nothing: held first."""
    REPORT = "R"
    """Never repaired by itself."""

    @property
    def is_destructive(self) -> bool:
        return self in (DriftClass.EVIDENCED, DriftClass.UNEVIDENCED)


class DriftKind(StrEnum):
    """Every difference between placements and sessions has one of these names."""

    MISSING_SESSION = "missing_session"
    PROXY_LOST = "proxy_lost"
    GENERATION_AHEAD = "generation_ahead"
    STATE_NOT_OBSERVED = "state_not_observed"
    ORPHAN_ENDED = "orphan_ended"
    ORPHAN_SUPERSEDED = "orphan_superseded"
    ORPHAN_GENERATION = "orphan_generation"
    DUPLICATE_SESSION = "duplicate_session"
    WRONG_SPEC = "wrong_spec"
    PLACEMENT_NOT_STOPPING = "placement_not_stopping"
    STUCK_STOPPING = "stuck_stopping"
    ORPHAN_UNKNOWN = "orphan_unknown"
    NEWER_THAN_DATABASE = "newer_than_database"
    FOREIGN_SESSION = "foreign_session"
    UNKNOWN_PROXY = "unknown_proxy"
    OUTBOX_STUCK = "outbox_stuck"
    OBSERVED_LAG = "observed_lag"
    SILENT_SOURCE = "silent_source"

    @property
    def rule(self) -> "Rule":
        return RULES[self]

    @property
    def drift_class(self) -> DriftClass:
        return RULES[self].drift_class


class GateKind(StrEnum):
    """What may hold an action back."""

    REPORTED = "reported"
    """Nothing is ever done about it: people have to."""
    SENT = "sent"
    """What has to be done was asked for already, and is on its way."""
    REPLACEMENT = "replacement"
    """This very observation has to show what takes its place."""
    GRACE = "grace"
    """It may right itself: it has to last, and to be seen again."""
    CONTROL = "control"
    """An operator's mode or pause does not allow it."""
    BUDGET = "budget"
    """So much may be stopped in so much time, and no more."""
    FULL_LOOK = "full_look"
    """It is decided in a look at everything only."""
    BREAKER = "breaker"
    """The breaker is open."""
    END_HELD = "end_held"
    """Its source says that it has ended, as it says of nearly all of its streams at once."""
    STARTUP = "startup"
    """This controller has just started: it does not know yet what it has to know before it stops anything."""

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    GateKind.REPORTED: "nothing is ever done about it by itself: people, or its source, have to",
    GateKind.SENT: "what has to be done was asked for already, and is on its way",
    GateKind.REPLACEMENT: "this very observation has to show the session that takes its place",
    GateKind.GRACE: "it may right itself: it has to last for its grace, and to be seen again",
    GateKind.CONTROL: "an operator's mode or pause does not allow it; the gate names it, with its owner and its end",
    GateKind.BUDGET: "so much may be stopped in so much time, and no more",
    GateKind.FULL_LOOK: "it is decided in a look at everything only: a part does not show how much is concerned",
    GateKind.BREAKER: "the breaker is open: two quiet plans in a row close it, or an approval of exactly what it holds",
    GateKind.END_HELD: "its source ends nearly all of its streams at once: it has to say so again, an operator to"
    " approve it, or a minute has to pass",
    GateKind.STARTUP: "this controller has just begun to lead: nothing is stopped before every proxy was listed or is"
    " known to be unreachable, and what waited at the broker is taken in, or ten seconds have passed",
}


class Grace(StrEnum):
    """The durations of ``Policy`` that a drift may have to last."""

    START = "start_grace"
    STOP = "stop_grace"
    ORPHAN = "orphan_grace"
    LAG = "lag_grace"


class Budget(StrEnum):
    """From which allowance the repair is paid."""

    EVIDENCED = "E"
    UNEVIDENCED = "N"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    drift_class: DriftClass
    numbers: tuple[int, ...]
    what: str
    evidence: str
    action: str
    grace: Grace | None = None
    budget: Budget | None = None
    gates: tuple[GateKind, ...] = ()
    """Those of this kind alone; every class adds its own."""


_A, _E = DriftClass.ADDITIVE, DriftClass.EVIDENCED
_N, _R = DriftClass.UNEVIDENCED, DriftClass.REPORT
_PAID = Budget.EVIDENCED

RULES: Mapping[DriftKind, Rule] = MappingProxyType({
    DriftKind.MISSING_SESSION: Rule(
        _A,
        (1,),
        "a placement without its session, on a proxy that answers",
        "a fresh list, not older than the last reply about it, lacks it; or its proxy has restarted",
        "a start that was never answered is sent again after its grace; else a new generation",
        grace=Grace.START,
    ),
    DriftKind.PROXY_LOST: Rule(
        _A,
        (2,),
        "a placement on a proxy that is lost",
        "the proxy has not answered for `lost_after`, and another one does",
        "a new generation elsewhere; the old session goes only when the new one is seen",
    ),
    DriftKind.GENERATION_AHEAD: Rule(
        _A,
        (8,),
        "the proxy runs a higher generation of this run than the database knows",
        "a fresh list shows it",
        "taken over in place, at a generation above it",
    ),
    DriftKind.STATE_NOT_OBSERVED: Rule(
        _A,
        (18,),
        "the row says LIVE, and no proxy runs anything of it",
        "every proxy concerned has answered, and none lists it",
        "the state goes back to STARTING, and it is placed",
    ),
    DriftKind.ORPHAN_ENDED: Rule(
        _E, (3,), "a session of a run that is over", "the row says ENDED or CLOSED", "stop", budget=_PAID
    ),
    DriftKind.ORPHAN_SUPERSEDED: Rule(
        _E, (4,), "a session of an older epoch of its key", "a row of the key has a higher epoch", "stop", budget=_PAID
    ),
    DriftKind.ORPHAN_GENERATION: Rule(
        _E,
        (7,),
        "a session of a run that is active, at a generation that nobody asks for",
        "the database is at another generation",
        "stop, once the wanted session is in the same observation",
        budget=_PAID,
        gates=(GateKind.REPLACEMENT,),
    ),
    DriftKind.DUPLICATE_SESSION: Rule(
        _E,
        (9,),
        "a session of a run that is active, on another proxy than its placement",
        "the placement names another proxy",
        "stop, once the wanted session is in the same observation",
        budget=_PAID,
        gates=(GateKind.REPLACEMENT,),
    ),
    DriftKind.WRONG_SPEC: Rule(
        _E,
        (10,),
        "a session of the right fence runs another spec than the row wishes",
        "the fingerprint that the proxy reports is not that of the row's spec",
        "replaced in place by a new generation; its viewers stay",
        budget=_PAID,
    ),
    DriftKind.PLACEMENT_NOT_STOPPING: Rule(
        _E,
        (18,),
        "the stream is over, and a placement of it is still wanted",
        "the row says ENDED or CLOSED",
        "stop",
        budget=_PAID,
    ),
    DriftKind.STUCK_STOPPING: Rule(
        _E,
        (12,),
        "a session still listed some time after its stop was decided",
        "its placement is stopping for longer than its grace, and a fresh list shows it",
        "stop again, as often as it takes: there is no softer stop that a harder one could follow, viewers and upstream"
        " have their end at once. Its end was decided and paid for",
        grace=Grace.STOP,
    ),
    DriftKind.ORPHAN_UNKNOWN: Rule(
        _N,
        (5,),
        "a session of which no row tells",
        "the database knows neither its stream nor a run of its key that it could belong to",
        "sources are asked for births; stop, if nobody claims it while they can be heard",
        grace=Grace.ORPHAN,
        budget=Budget.UNEVIDENCED,
        gates=(GateKind.GRACE,),
    ),
    DriftKind.NEWER_THAN_DATABASE: Rule(
        _R,
        (6,),
        "a session of a newer epoch than any row of its key",
        "a fresh list shows it: rows were lost, or restored from a backup",
        "report; sources are asked for births; the key is not placed meanwhile",
    ),
    DriftKind.FOREIGN_SESSION: Rule(
        _R,
        (17,),
        "a session of another installation",
        "it is marked with another name than `PENSTOCK_INSTALLATION`, and no placement asks for it",
        "report: whoever started it looks after it. One without a mark counts as ours",
    ),
    DriftKind.UNKNOWN_PROXY: Rule(
        _R,
        (15,),
        "a placement on a proxy that is not configured any more",
        "every configured proxy has said its name, and it is none of them",
        "report: whether it runs there still, nobody here can know",
    ),
    DriftKind.OUTBOX_STUCK: Rule(
        _R,
        (19,),
        "a command that a proxy which answers lists does not answer",
        "it was sent many times",
        "report; it is sent again with back-off, and what it was for is compared anew in every cycle",
    ),
    DriftKind.OBSERVED_LAG: Rule(
        _R,
        (23,),
        "what was asked for is not seen for a long time, on a proxy that answers",
        "its placement is requested for longer than its grace",
        "report",
        grace=Grace.LAG,
    ),
    DriftKind.SILENT_SOURCE: Rule(
        _R,
        (20,),
        "a source that is connected and does not answer",
        "its process answered a request for a birth before, and left three in a row unanswered, without any other"
        " message, while the connection to the broker held",
        "report, and say so on its streams (`SourceOnline` Unknown, `Silent`): what it announced may run all the same."
        " Its next birth or status ends it",
    ),
})  # fmt: skip

GATES_OF_CLASS: Mapping[DriftClass, tuple[GateKind, ...]] = MappingProxyType({
    _A: (GateKind.CONTROL,),
    _E: (GateKind.SENT, GateKind.CONTROL, GateKind.STARTUP),
    _N: (GateKind.SENT, GateKind.CONTROL, GateKind.STARTUP, GateKind.FULL_LOOK, GateKind.BREAKER),
    _R: (GateKind.REPORTED,),
})  # fmt: skip
"""What may hold back an action of each class, whatever its kind."""

ELSEWHERE: Mapping[int, str] = MappingProxyType({
    11: "no drift: a session that does not flow makes its stream STALLED (`flow_lost`) and says so in the condition"
    " `Flowing`; its proxy connects again by itself, and one that gave up is placed anew with back-off",
    13: "cannot be: viewers belong to a session and end with it; a proxy has no other list of them",
    14: "waits: proxies do not report connections without a session",
    16: "waits, but for this: of two addresses that answer with one proxy id, the second is not believed"
    " (`proxy.id_taken_twice`)",
    21: "no drift: held where it is recorded, if `PENSTOCK_HOLD_MASS_ENDS` is set, under the condition `EndHeld`",
    22: "no drift: a birth that lacks a stream makes it STALLED, the next of the same process ends it (`source_lost`)",
    24: "waits: a proxy refuses what is above its limit, and the refusal is answered with back-off",
})  # fmt: skip
"""What the taxonomy numbers and no kind stands for, with the reason."""

NUMBERS = range(1, 25)
"""Of the taxonomy. Each is a kind's, or in ``ELSEWHERE``."""
