"""The tables. Nothing outside ``store`` sees a row of them.

Times are aware UTC datetimes; a state is a word checked by the database; what is only ever read as a whole (a spec, the
conditions) is JSON. Text has no length limit here: what comes in was measured at the border, and a row that one
database takes and the other refuses would block its batch for good. ``transitions`` is append-only. A migration repeats
these definitions by hand, and a test holds the two equal.
"""

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    false,
    text,
)
from sqlalchemy.orm import Session

from controller.domain.model import CommandKind, Outcome, PlacementState, State
from controller.store.columns import BigId, CleanText, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, words: type[StrEnum], *, name: str | None = None) -> CheckConstraint:
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


streams = Table(
    "streams",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("key", CleanText, nullable=False),
    Column("source_id", CleanText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("announced_epoch", BigInteger),
    Column("seq", BigInteger, nullable=False),
    Column("source_boot_id", CleanText, nullable=False),
    Column("state", CleanText, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("spec_generation", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state_since", UtcDateTime, nullable=False),
    Column("stall_timeout_seconds", Float),
    Column("expires_at", UtcDateTime),
    Column("reason", CleanText),
    Column("reason_detail", CleanText, nullable=False),
    Column("outcome", CleanText),
    Column("conditions", JSON, nullable=False),
    Column("births_missed", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("version", Integer, nullable=False),
    _one_of("state", State),
    _one_of("outcome", Outcome),
    CheckConstraint("(state IN ('ENDED', 'CLOSED')) = (ended_at IS NOT NULL)", name="ended_has_time"),
    CheckConstraint("(state = 'CLOSED') = (closed_at IS NOT NULL)", name="closed_has_time"),
    CheckConstraint("(ended_at IS NULL) = (reason IS NULL)", name="ended_has_reason"),
    Index("uq_streams_key_epoch", "key", "epoch", unique=True),
    # At most one run of a key has not ended.
    Index(
        "uq_streams_key_active",
        "key",
        unique=True,
        sqlite_where=text("state NOT IN ('ENDED', 'CLOSED')"),
        postgresql_where=text("state NOT IN ('ENDED', 'CLOSED')"),
    ),
    Index(
        "ix_streams_open",
        "source_id",
        sqlite_where=text("state <> 'CLOSED'"),
        postgresql_where=text("state <> 'CLOSED'"),
    ),
    Index("ix_streams_created_at_id", "created_at", "id"),
    Index("ix_streams_closed_at", "closed_at"),
)

placements = Table(
    "placements",
    metadata,
    Column("stream_id", CleanText, ForeignKey(streams.c.id, ondelete="CASCADE"), primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("proxy_id", CleanText, nullable=False),
    Column("boot_id", CleanText, nullable=False),
    Column("spec_generation", Integer, nullable=False),
    Column("state", CleanText, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("observed_at", UtcDateTime),
    Column("stopping_at", UtcDateTime),
    Column("gone_at", UtcDateTime),
    Column("reply_sequence", BigInteger),
    Column("stop_replied", Boolean, nullable=False),
    _one_of("state", PlacementState),
    CheckConstraint("(state = 'gone') = (gone_at IS NOT NULL)", name="gone_has_time"),
    Index(
        "ix_placements_not_gone",
        "stream_id",
        sqlite_where=text("state <> 'gone'"),
        postgresql_where=text("state <> 'gone'"),
    ),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("stream_id", CleanText, nullable=False),
    Column("key", CleanText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("event", CleanText, nullable=False),
    Column("from_state", CleanText),
    Column("to_state", CleanText, nullable=False),
    Column("reason", CleanText),
    Column("detail", CleanText, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("cause", CleanText, nullable=False),
    _one_of("from_state", State),
    _one_of("to_state", State),
    Index("ix_transitions_stream_id_id", "stream_id", "id"),
    Index("ix_transitions_at", "at"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", CleanText, nullable=False),
    Column("proxy_id", CleanText, nullable=False),
    Column("boot_id", CleanText, nullable=False),
    Column("stream_id", CleanText, nullable=False),
    Column("key", CleanText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("spec", JSON(none_as_null=True)),
    Column("why", CleanText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", CleanText, nullable=False),
    Column("settled_at", UtcDateTime),
    Column("outcome", CleanText),
    _one_of("kind", CommandKind),
    # Only what still waits is indexed, so that the index stays as small as the queue.
    Index(
        "ix_outbox_pending",
        "stream_id",
        "id",
        sqlite_where=text("settled_at IS NULL"),
        postgresql_where=text("settled_at IS NULL"),
    ),
    Index("ix_outbox_settled_at", "settled_at"),
    sqlite_autoincrement=True,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("topic", CleanText, nullable=False),
    Column("payload_head", LargeBinary, nullable=False),
    Column("payload_bytes", BigInteger, nullable=False),
    Column("reason", CleanText, nullable=False),
    Index("ix_quarantine_at", "at"),
    sqlite_autoincrement=True,
)

floors = Table(
    "floors",
    metadata,
    Column("source_id", CleanText, primary_key=True),
    Column("key", CleanText, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("boot_id", CleanText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_floors_at", "at"),
)

blocks = Table(
    "blocks",
    metadata,
    Column("key", CleanText, primary_key=True),
    Column("stream_id", CleanText, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("detail", CleanText, nullable=False),
    Column("blocked_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("refused_at", UtcDateTime),
    Column("refused_source", CleanText),
    Index("ix_blocks_expires_at", "expires_at"),
)

sources = Table(
    "sources",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("boot_id", CleanText, nullable=False),
    Column("is_online", Boolean, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("birth_boot_id", CleanText, nullable=False),
    Column("birth_seq", BigInteger),
    Column("birth_at", UtcDateTime),
    Column("answers_births", Boolean, nullable=False, server_default=false()),
    Column("silent_since", UtcDateTime),
)

processes = Table(
    "processes",
    metadata,
    Column("source_id", CleanText, primary_key=True),
    Column("boot_id", CleanText, primary_key=True),
    Column("birth_seq", BigInteger),
    Column("turn", BigInteger),
    Column("seen_at", UtcDateTime, nullable=False),
)

proxies = Table(
    "proxies",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("url", CleanText, nullable=False),
    Column("boot_id", CleanText, nullable=False),
    Column("freshness", CleanText, nullable=False),
    Column("observed_at", UtcDateTime),
    Column("view", JSON, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)

stream_stats = Table(
    "stream_stats",
    metadata,
    Column("stream_id", CleanText, ForeignKey(streams.c.id, ondelete="CASCADE"), primary_key=True),
    # Slot 0 is the newest; the others are a ring of samples, so that the history of a stream cannot grow.
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("figures", JSON, nullable=False),
)

reconcile_runs = Table(
    "reconcile_runs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("cause", CleanText, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("duration_seconds", Float, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("actions", JSON, nullable=False),
    Column("error", CleanText, nullable=False),
    Index("ix_reconcile_runs_at", "at"),
    sqlite_autoincrement=True,
)

drift = Table(
    "drift",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", CleanText, nullable=False),
    Column("proxy_id", CleanText, nullable=False),
    Column("stream_id", CleanText, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("key", CleanText, nullable=False),
    Column("drift_class", CleanText, nullable=False),
    Column("evidence", CleanText, nullable=False),
    Column("action", CleanText, nullable=False),
    Column("gate", CleanText, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("looks", Integer, nullable=False),
    Column("repaired_at", UtcDateTime),
    Column("source_id", CleanText, nullable=False, server_default=text("''")),
    CheckConstraint("drift_class IN ('A', 'E', 'N', 'R')", name="drift_class"),
    # A drift is open once.
    Index(
        "uq_drift_open",
        "kind",
        "source_id",
        "proxy_id",
        "stream_id",
        "generation",
        unique=True,
        sqlite_where=text("repaired_at IS NULL"),
        postgresql_where=text("repaired_at IS NULL"),
    ),
    Index("ix_drift_repaired_at", "repaired_at"),
    Index("ix_drift_stream_id", "stream_id"),
    sqlite_autoincrement=True,
)

lease = Table(
    "lease",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("holder", CleanText, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

controls = Table(
    "controls",
    metadata,
    Column("scope", CleanText, primary_key=True),
    Column("subject", CleanText, primary_key=True),
    Column("name", CleanText, primary_key=True),
    Column("value", CleanText, nullable=False),
    Column("owner", CleanText, nullable=False),
    Column("why", CleanText, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    CheckConstraint("scope IN ('global', 'proxy', 'stream')", name="scope"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("digest", CleanText, nullable=False),
    Column("owner", CleanText, nullable=False),
    Column("why", CleanText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Index("ix_approvals_at", "at"),
    sqlite_autoincrement=True,
)

breaker = Table(
    "breaker",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("opened_at", UtcDateTime),
    Column("cause", CleanText, nullable=False),
    Column("spent", JSON, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("name", CleanText, nullable=False),
    Column("role", CleanText, nullable=False),
    Column("digest", CleanText, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("role IN ('viewer', 'publisher', 'operator')", name="role"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("value", BigInteger, nullable=False),
)


def create(session: Session) -> None:
    """Create every table in an empty database that lives only in memory. A database in a file is migrated instead."""
    metadata.create_all(session.connection())
