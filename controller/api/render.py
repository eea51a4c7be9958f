"""Domain values as documents of the API. No queries and no decisions."""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.api import operator_schemas, quarantined, schemas
from controller.api.redaction import MASK, redact
from controller.api.seen import Seen, Sighting, media_url, name_of
from controller.domain.breaker import Breaker
from controller.domain.controls import Control, Controls
from controller.domain.model import Output, Placement, Run, Stream, StreamSpec
from controller.domain.observation import Figures, ProxyView, Session, Viewer
from controller.domain.plan import Action
from controller.store.approvals import Approval
from controller.store.drift import KnownDrift
from controller.store.history import Entry
from controller.store.quarantine import Refusal
from controller.store.runs import KnownCycle
from controller.store.stats import Sample


@dataclass(frozen=True, slots=True)
class View:
    """What rendering streams needs beside the streams: the observation, and how the client reached this API."""

    seen: Seen
    base_url: str
    """Without a trailing slash."""


def stream(run: Run, view: View) -> schemas.StreamDocument:
    subject = run.stream
    sessions = sessions_of(run, view.seen)
    return {
        "id": subject.id,
        "key": subject.key,
        "epoch": subject.epoch,
        "state": subject.state,
        "state_since": subject.state_since,
        "reason": subject.reason,
        "reason_detail": subject.reason_detail,
        "outcome": subject.outcome,
        "source": subject.source_id,
        "conditions": _conditions(subject),
        "sessions": sessions,
        "viewers": sum(session["viewers"] for session in sessions),
        "labels": dict(subject.labels),
        "spec": spec(subject.spec),
        "spec_generation": subject.spec_generation,
        "generation": subject.generation,
        "failures": subject.failures,
        "retry_at": subject.retry_at,
        "expires_at": subject.expires_at,
        "stall_timeout_seconds": subject.stall_timeout_seconds,
        "created_at": subject.created_at,
        "ended_at": subject.ended_at,
        "closed_at": subject.closed_at,
        "links": _links(run, view),
    }


def spec(wanted: StreamSpec) -> schemas.SpecDocument:
    upstreams: list[schemas.UpstreamDocument] = [
        {
            "url": redact(upstream.url),
            "headers": {name: MASK for name, _ in upstream.headers},
            "connections_max": upstream.connections_max,
        }
        for upstream in wanted.upstreams
    ]
    return {
        "upstreams": upstreams,
        "outputs": list(wanted.outputs),
        "on_demand": wanted.on_demand,
        "on_eof": wanted.on_eof,
        "viewers_max": wanted.viewers_max,
        "prefer": wanted.prefer,
        "return_after_seconds": wanted.return_after_seconds,
        "loop": wanted.loop,
    }


def sessions_of(run: Run, seen: Seen) -> list[schemas.SessionDocument]:
    """Join the placements of a run with what was seen of it, newest generation first."""
    found = {(seen_here.view.proxy_id, seen_here.session.generation): seen_here for seen_here in seen.of(run.stream.id)}
    documents: list[schemas.SessionDocument] = []
    for placement in run.placements:
        sighting = found.pop((placement.proxy_id, placement.generation), None)
        view = sighting.view if sighting is not None else seen.views.get(placement.proxy_id)
        documents.append(
            _session(
                placement,
                sighting,
                proxy_id=placement.proxy_id,
                generation=placement.generation,
                is_fresh=view is not None and view.is_fresh,
            )
        )
    documents += [_sighted(None, sighting) for sighting in found.values()]
    documents.sort(key=lambda document: document["generation"], reverse=True)
    return documents


def seen_session(placement: Placement | None, sighting: Sighting) -> schemas.StreamSessionDocument:
    """Render a session that a proxy was seen to run, with the placement that asks for it, if any."""
    session = sighting.session
    return {
        "stream_id": session.stream_id,
        "key": session.key,
        "epoch": session.epoch,
        **_sighted(placement, sighting),
    }


def _sighted(placement: Placement | None, sighting: Sighting) -> schemas.SessionDocument:
    view, generation = sighting.view, sighting.session.generation
    return _session(placement, sighting, proxy_id=view.proxy_id, generation=generation, is_fresh=view.is_fresh)


def session_name(document: schemas.StreamSessionDocument) -> str:
    """Name a session among all others."""
    return name_of(document["key"], document["stream_id"], document["generation"], document["proxy_id"])


def transition(entry: Entry) -> schemas.TransitionDocument:
    moved = entry.transition
    return {
        "id": entry.id,
        "at": moved.at,
        "stream_id": moved.stream_id,
        "key": moved.key,
        "epoch": moved.epoch,
        "event": moved.event,
        "from_state": moved.from_state,
        "to_state": moved.to_state,
        "reason": moved.reason,
        "detail": moved.detail,
        "actor": moved.cause.actor,
        "cause": moved.cause.detail,
    }


def viewer(seen: Viewer) -> schemas.ViewerDocument:
    return {
        "id": seen.viewer_id,
        "proxy_id": seen.proxy_id,
        "stream_id": seen.stream_id,
        "key": seen.key,
        "protocol": seen.protocol,
        "address": seen.address,
        "user_agent": seen.user_agent,
        "since_seconds": seen.since_seconds,
        "bytes_sent": seen.bytes_sent,
        "lag_bytes": seen.lag_bytes,
        "rate_bps": seen.rate_bps,
        "moves": seen.moves,
    }


def sample(noted: Sample) -> schemas.SampleDocument:
    return {"at": noted.at, "figures": dict(noted.figures)}


def proxy(view: ProxyView, held: Controls) -> schemas.ProxyDocument:
    return {
        "id": view.proxy_id,
        "url": redact(view.url),
        "public_url": view.public_url,
        "freshness": view.freshness,
        "boot_id": view.boot_id,
        "sequence": view.sequence,
        "observed_at": view.observed_at,
        "error": view.error,
        "is_draining": view.is_draining or view.proxy_id in held.drained,
        "is_decommissioned": view.proxy_id in held.decommissioned,
        "is_synced": view.is_synced,
        "sessions": len(view.sessions),
        "sessions_max": view.sessions_max,
        "viewers": view.viewers,
        "bitrate_bps": view.bitrate_bps,
    }


def drift(known: KnownDrift) -> schemas.DriftDocument:
    return {
        "id": known.id,
        "kind": known.drift.kind,
        "drift_class": known.drift_class,
        "key": known.drift.key,
        "stream_id": known.drift.stream_id,
        "proxy_id": known.drift.proxy_id,
        "generation": known.drift.generation,
        "source_id": known.drift.source_id,
        "evidence": known.drift.evidence,
        "action": known.action,
        "gate": known.gate,
        "first_seen": known.first_seen,
        "last_seen": known.last_seen,
        "looks": known.looks,
        "repaired_at": known.repaired_at,
    }


def control(held: Control) -> operator_schemas.ControlDocument:
    return {
        "scope": held.scope,
        "subject": held.subject,
        "name": held.name,
        "value": held.value,
        "owner": held.owner,
        "why": held.why,
        "set_at": held.set_at,
        "expires_at": held.expires_at,
    }


def breaker(state: Breaker) -> operator_schemas.BreakerDocument:
    return {"is_open": state.is_open, "opened_at": state.opened_at, "cause": state.cause}


def approval(given: Approval) -> operator_schemas.ApprovalDocument:
    return {
        "id": given.id,
        "digest": given.digest,
        "owner": given.owner,
        "why": given.why,
        "at": given.at,
        "expires_at": given.expires_at,
        "used_at": given.used_at,
    }


def action(taken: Action) -> schemas.ActionDocument:
    return {
        "verb": taken.verb,
        "key": taken.key,
        "stream_id": taken.stream_id,
        "proxy_id": taken.proxy_id,
        "generation": taken.generation,
        "why": taken.why,
        "drift_kind": taken.drift.kind if taken.drift is not None else None,
        "gate": taken.gate,
    }


def actions(taken: Iterable[Action]) -> list[schemas.ActionDocument]:
    return [action(one) for one in taken]


def cycle(known: KnownCycle) -> schemas.CycleDocument:
    look = known.cycle
    return {
        "id": known.id,
        "at": look.at,
        "cause": look.cause,
        "token": look.token,
        "duration_seconds": look.duration_seconds,
        "counts": dict(look.counts),
        "actions": actions(look.actions),
        "error": look.error,
    }


def refusal(kept: Refusal) -> schemas.RefusalDocument:
    message = kept.message
    shown = quarantined.show(message)
    return {
        "id": kept.id,
        "at": kept.at,
        "topic": message.topic,
        "reason": message.reason,
        "payload": shown.text,
        "payload_encoding": shown.encoding,
        "payload_bytes": message.payload_bytes,
        "payload_digest": shown.digest,
    }


def _conditions(subject: Stream) -> list[schemas.ConditionDocument]:
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "since": condition.since,
            "observed_generation": condition.observed_generation,
        }
        for condition in subject.conditions
    ]


def _links(run: Run, view: View) -> schemas.LinksDocument:
    key, outputs = run.stream.key, run.stream.spec.outputs
    public_url = view.seen.proxy_url(run)
    return {
        "ts": media_url(public_url, key, Output.TS) if public_url and Output.TS in outputs else None,
        "hls": media_url(public_url, key, Output.HLS) if public_url and Output.HLS in outputs else None,
        "thumb": f"{public_url}/thumb/{key}.jpg" if public_url else None,
        "watch": f"{view.base_url}/watch/{key}",
    }


def _session(
    placement: Placement | None, sighting: Sighting | None, *, proxy_id: str, generation: int, is_fresh: bool
) -> schemas.SessionDocument:
    return {
        "proxy_id": proxy_id,
        "generation": generation,
        "is_fresh": is_fresh,
        **(_placed(placement) if placement is not None else _NOT_PLACED),
        **(_seen(sighting.session, sighting.figures) if sighting is not None else _NOT_SEEN),
    }


def _placed(placement: Placement) -> schemas.PlacedPart:
    return {
        "placement_state": placement.state,
        "requested_at": placement.requested_at,
        "observed_at": placement.observed_at,
        "stopping_at": placement.stopping_at,
    }


_NOT_PLACED: schemas.PlacedPart = {
    "placement_state": None,
    "requested_at": None,
    "observed_at": None,
    "stopping_at": None,
}


def _seen(session: Session, figures: Figures) -> schemas.SeenPart:
    return {
        "state": session.state,
        "finished_reason": session.finished_reason,
        "detail": session.detail,
        "outputs": list(session.outputs),
        "upstream_index": figures.upstream_index,
        "viewers": figures.viewers,
        "viewers_ts": figures.viewers_ts,
        "viewers_hls": figures.viewers_hls,
        "bytes_in": figures.bytes_in,
        "bytes_out": figures.bytes_out,
        "bitrate_bps": figures.bitrate_bps,
        "last_byte_age_seconds": figures.last_byte_age_seconds,
        "uptime_seconds": figures.uptime_seconds,
        "datagrams_lost": figures.datagrams_lost,
    }


_NOT_SEEN: schemas.SeenPart = {
    "state": None,
    "finished_reason": "",
    "detail": "",
    "outputs": [],
    "upstream_index": None,
    "viewers": 0,
    "viewers_ts": 0,
    "viewers_hls": 0,
    "bytes_in": 0,
    "bytes_out": 0,
    "bitrate_bps": 0,
    "last_byte_age_seconds": None,
    "uptime_seconds": 0.0,
    "datagrams_lost": 0,
}
