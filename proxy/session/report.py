"""A session as the control API shows it: figures put together, nothing decided."""

from typing import TYPE_CHECKING

from proxy.contract import Output, SessionView

if TYPE_CHECKING:
    from proxy.session.session import Session


def report(session: "Session", now: float, stall_seconds: float) -> SessionView:
    """Return it as of ``now``; silent for longer than ``stall_seconds`` is stalled."""
    vitals, feed = session.vitals, session.feed
    loop = feed.loops.found if feed is not None and feed.loops is not None else None
    return SessionView(
        stream_id=session.stream_id,
        key=session.key,
        epoch=session.epoch,
        generation=session.generation,
        spec_digest=session.spec_digest,
        installation=session.installation,
        outputs=session.spec.outputs,
        on_demand=session.spec.on_demand,
        state=vitals.state_at(now, stall_seconds),
        finished_reason=session.finished_reason,
        detail=vitals.detail,
        wanted=session.wanted,
        delivered=vitals.delivered,
        upstream_index=vitals.upstream_index,
        viewers_ts=session.count(Output.TS),
        viewers_hls=session.count(Output.HLS),
        bytes_in=vitals.bytes_in,
        bytes_out=session.bytes_out,
        bitrate_bps=vitals.bitrate_bps,
        last_byte_age_seconds=None if vitals.last_media_at is None else now - vitals.last_media_at,
        failing_seconds=vitals.failing_seconds(now, stall_seconds),
        looping_seconds=None if loop is None else now - loop.since,
        loop_period_seconds=None if loop is None else loop.seconds,
        uptime_seconds=now - session.began,
        connects=vitals.connects,
        resyncs=session.resyncs,
        datagrams_lost=vitals.datagrams_lost,
        datagrams_reordered=vitals.datagrams_reordered,
    )
