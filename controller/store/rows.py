"""Domain values as rows, and back. No queries here."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from controller.domain.model import (
    RETURN_AFTER_SECONDS,
    BootId,
    Cause,
    Command,
    CommandKind,
    Condition,
    ConditionStatus,
    ConditionType,
    Key,
    LoopRule,
    OnEof,
    Outcome,
    Output,
    Placement,
    PlacementState,
    Prefer,
    ProxyId,
    Reason,
    SourceId,
    State,
    Stream,
    StreamId,
    StreamSpec,
    Transition,
    Upstream,
)

Values = dict[str, Any]
"""The columns of one row, by name, as the driver takes them."""


# What thousands of rows say in the same words is kept once (``sys.intern``).

# Looked up, a word costs a tenth of what its enum takes to find it; ten thousand rows have some hundred thousand words.
STATES = {word.value: word for word in State}
_REASONS = {word.value: word for word in Reason}
_OUTCOMES = {word.value: word for word in Outcome}
OUTPUTS = {word.value: word for word in Output}
_ON_EOF = {word.value: word for word in OnEof}
_PREFERENCES = {word.value: word for word in Prefer}
_LOOP_RULES = {word.value: word for word in LoopRule}
_CONDITION_TYPES = {word.value: word for word in ConditionType}
_STATUSES = {word.value: word for word in ConditionStatus}
PLACEMENT_STATES = {word.value: word for word in PlacementState}
_COMMAND_KINDS = {word.value: word for word in CommandKind}


def spec_values(spec: StreamSpec) -> Values:
    return {
        "upstreams": [
            {"url": upstream.url, "headers": list(upstream.headers), "connections_max": upstream.connections_max}
            for upstream in spec.upstreams
        ],
        "outputs": list(spec.outputs),
        "on_demand": spec.on_demand,
        "on_eof": spec.on_eof,
        "viewers_max": spec.viewers_max,
        "prefer": spec.prefer,
        "return_after_seconds": spec.return_after_seconds,
        "loop": spec.loop,
    }


def spec_from(values: Mapping[str, Any]) -> StreamSpec:
    """Read a spec; rows of before a field was known lack it."""
    return StreamSpec(
        upstreams=tuple(
            Upstream(item["url"], _pairs(item["headers"]), item.get("connections_max")) for item in values["upstreams"]
        ),
        outputs=tuple(OUTPUTS[output] for output in values["outputs"]),
        on_demand=values["on_demand"],
        on_eof=_ON_EOF[values["on_eof"]],
        viewers_max=values.get("viewers_max"),
        prefer=_PREFERENCES[values.get("prefer", Prefer.FIRST)],
        return_after_seconds=values.get("return_after_seconds", RETURN_AFTER_SECONDS),
        loop=_LOOP_RULES[values.get("loop", LoopRule.WATCH)],
    )


def stream_values(stream: Stream) -> Values:
    return {
        "id": stream.id,
        "key": stream.key,
        "source_id": stream.source_id,
        "epoch": stream.epoch,
        "announced_epoch": stream.announced_epoch,
        "seq": stream.seq,
        "source_boot_id": stream.source_boot_id,
        "state": stream.state,
        "spec": spec_values(stream.spec),
        "spec_generation": stream.spec_generation,
        "generation": stream.generation,
        "labels": dict(stream.labels),
        "created_at": stream.created_at,
        "state_since": stream.state_since,
        "stall_timeout_seconds": stream.stall_timeout_seconds,
        "expires_at": stream.expires_at,
        "reason": stream.reason,
        "reason_detail": stream.reason_detail,
        "outcome": stream.outcome,
        "conditions": [_condition_values(condition) for condition in stream.conditions],
        "births_missed": stream.births_missed,
        "failures": stream.failures,
        "retry_at": stream.retry_at,
        "ended_at": stream.ended_at,
        "closed_at": stream.closed_at,
        "version": stream.version,
    }


def stream_from(row: Row[Any]) -> Stream:
    return Stream(
        id=StreamId(row.id),
        key=Key(row.key),
        source_id=SourceId(row.source_id),
        epoch=row.epoch,
        announced_epoch=row.announced_epoch,
        seq=row.seq,
        source_boot_id=row.source_boot_id,
        state=STATES[row.state],
        spec=spec_from(row.spec),
        created_at=row.created_at,
        state_since=row.state_since,
        spec_generation=row.spec_generation,
        generation=row.generation,
        labels=tuple(row.labels.items()),
        stall_timeout_seconds=row.stall_timeout_seconds,
        expires_at=row.expires_at,
        reason=None if row.reason is None else _REASONS[row.reason],
        reason_detail=row.reason_detail,
        outcome=None if row.outcome is None else _OUTCOMES[row.outcome],
        conditions=tuple(_condition_from(item) for item in row.conditions),
        births_missed=row.births_missed,
        failures=row.failures,
        retry_at=row.retry_at,
        ended_at=row.ended_at,
        closed_at=row.closed_at,
        version=row.version,
    )


def placement_values(placement: Placement) -> Values:
    return {
        "stream_id": placement.stream_id,
        "generation": placement.generation,
        "proxy_id": placement.proxy_id,
        "boot_id": placement.boot_id,
        "spec_generation": placement.spec_generation,
        "state": placement.state,
        "requested_at": placement.requested_at,
        "observed_at": placement.observed_at,
        "stopping_at": placement.stopping_at,
        "gone_at": placement.gone_at,
        "reply_sequence": placement.reply_sequence,
        "stop_replied": placement.stop_replied,
    }


def placement_from(row: Row[Any]) -> Placement:
    return Placement(
        stream_id=StreamId(row.stream_id),
        generation=row.generation,
        proxy_id=ProxyId(sys.intern(row.proxy_id)),
        boot_id=BootId(sys.intern(row.boot_id)),
        spec_generation=row.spec_generation,
        state=PLACEMENT_STATES[row.state],
        requested_at=row.requested_at,
        observed_at=row.observed_at,
        stopping_at=row.stopping_at,
        gone_at=row.gone_at,
        reply_sequence=row.reply_sequence,
        stop_replied=row.stop_replied,
    )


def transition_values(transition: Transition) -> Values:
    return {
        "stream_id": transition.stream_id,
        "key": transition.key,
        "epoch": transition.epoch,
        "at": transition.at,
        "event": transition.event,
        "from_state": transition.from_state,
        "to_state": transition.to_state,
        "reason": transition.reason,
        "detail": transition.detail,
        "actor": transition.cause.actor,
        "cause": transition.cause.detail,
    }


def transition_from(row: Row[Any]) -> Transition:
    return Transition(
        stream_id=StreamId(row.stream_id),
        key=Key(row.key),
        epoch=row.epoch,
        at=row.at,
        event=row.event,
        from_state=None if row.from_state is None else STATES[row.from_state],
        to_state=STATES[row.to_state],
        reason=None if row.reason is None else _REASONS[row.reason],
        detail=row.detail,
        cause=Cause(row.actor, row.cause),
    )


def command_values(command: Command, now: datetime) -> Values:
    return {
        "kind": command.kind,
        "proxy_id": command.proxy_id,
        "boot_id": command.boot_id,
        "stream_id": command.stream_id,
        "key": command.key,
        "epoch": command.epoch,
        "generation": command.generation,
        "spec": None if command.spec is None else spec_values(command.spec),
        "why": command.why,
        "created_at": now,
        "not_before": now,
        "attempts": 0,
        "error": "",
    }


def command_from(row: Row[Any]) -> Command:
    return Command(
        kind=_COMMAND_KINDS[row.kind],
        proxy_id=ProxyId(row.proxy_id),
        boot_id=BootId(row.boot_id),
        stream_id=StreamId(row.stream_id),
        key=Key(row.key),
        epoch=row.epoch,
        generation=row.generation,
        spec=None if row.spec is None else spec_from(row.spec),
        why=row.why,
    )


def _condition_values(condition: Condition) -> Values:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "since": condition.since.isoformat(),
        "observed_generation": condition.observed_generation,
    }


def _condition_from(values: Mapping[str, Any]) -> Condition:
    return Condition(
        type=_CONDITION_TYPES[values["type"]],
        status=_STATUSES[values["status"]],
        reason=sys.intern(values["reason"]),
        message=sys.intern(values["message"]),
        since=datetime.fromisoformat(values["since"]),
        observed_generation=values["observed_generation"],
    )


def _pairs(items: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in items)
