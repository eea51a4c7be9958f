"""A plan: made on one reading, and written down, in one transaction, before anything is done about it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from controller.domain.model import Change, Key
from controller.domain.observation import Desired, Observed, ProxyView
from controller.domain.plan import NEWCOMER, Plan, Policy, Standing, Verb, plan
from controller.store import approvals, breaker, dialects, drift, outbox, proxies, runs, streams
from controller.store.drift import DriftNews
from controller.store.recollection import Recollection


@dataclass(frozen=True, slots=True)
class Made:
    """A plan and what it was made on: both sides at one moment, and the database's time."""

    desired: Desired
    observed: Observed
    now: datetime
    plan: Plan


def make(
    session: Session,
    observed: Observed,
    policy: Policy,
    keys: frozenset[Key] | None,
    *,
    recollection: Recollection,
    standing: Standing = NEWCOMER,
) -> Made:
    """Read all that is desired, or all of these keys, and plan. What is recollected is not read again.

    Planning needs no database. It is done here because this is a thread of its own: a thousand runs at once would keep
    the loop from everybody else.
    """
    if keys is None:
        unfinished = recollection.read(session)
        listed = {i for view in observed.proxies for i in view.listed.by_stream if i not in unfinished.ids}
        desired = streams.desired(session, listed, unfinished=unfinished.runs)
    else:
        lists = [view.listed.by_key for view in observed.proxies]
        listed = {session.stream_id for by_key in lists for key in keys for session in by_key.get(key, ())}
        desired = streams.desired(session, listed, keys)
    if keys is None and standing.glance is not None:
        desired = replace(desired, closed_since=streams.count_closed_since(session, standing.glance.at))
    now = dialects.db_now(session)
    return Made(desired, observed, now, plan(desired, observed, policy, now, standing))


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a plan."""

    stale: frozenset[Key]
    """Keys whose run changed since the plan was made: nothing of theirs was written, they need another look."""
    news: DriftNews
    """What it found that the cycle before did not."""


def save(
    session: Session,
    planned: Plan,
    observed: Observed,
    *,
    keys: Collection[Key] | None,
    now: datetime,
    token: int,
    duration_seconds: float,
    views: Collection[ProxyView] = (),
) -> Saved:
    """Write what still holds of a plan: changed runs, commands, drifts, the proxies as seen, and the cycle itself.

    Args:
        session: a writing transaction.
        planned: what ``domain.plan`` decided.
        observed: what it was decided on.
        keys: what it was limited to; None for everything.
        now: the database's time of the reading.
        token: of the controller that planned.
        duration_seconds: of the cycle, until now.
        views: those of the proxies that are worth remembering, as they were seen.
    """
    stops = planned.stops
    if planned.approval and not approvals.use(session, planned.approval, now=now):
        stops = ()  # somebody else has used it up meanwhile
    elif planned.is_breaker_changed:
        breaker.save(session, planned.breaker)
    stale = _find_stale(session, planned.changes)
    streams.save(session, [c for c in planned.changes if c.run.stream.key not in stale], now=now)
    outbox.add(session, stops, now=now)
    outbox.drop_overtaken(session, now=now)
    unseen = {view.proxy_id for view in observed.proxies if not view.is_fresh}
    news = drift.sync(session, planned.actions, now=now, keys=keys, unseen=unseen)
    if views:
        proxies.save(session, views, now=now)
    runs.add(session, _cycle(planned, observed, keys=keys, now=now, token=token, duration_seconds=duration_seconds))
    return Saved(stale, news)


def _cycle(
    planned: Plan,
    observed: Observed,
    *,
    keys: Collection[Key] | None,
    now: datetime,
    token: int,
    duration_seconds: float,
) -> runs.Cycle:
    drifts = [action for action in planned.actions if action.drift is not None]
    counts = {
        "proxies": len(observed.proxies),
        "proxies_fresh": sum(view.is_fresh for view in observed.proxies),
        "sessions": sum(len(view.sessions) for view in observed.proxies),
        "actions": len(planned.actions),
        "commands": len(planned.stops) + sum(len(change.commands) for change in planned.changes),
        "drifts": len(drifts),
        "held": sum(action.verb is Verb.HOLD for action in drifts),
    }
    cause = "resync" if keys is None else f"{len(keys)} keys rang" if len(keys) != 1 else f"{min(keys)} rang"
    return runs.Cycle(now, cause, token, duration_seconds, counts, planned.actions)


def _find_stale(session: Session, changes: Collection[Change]) -> frozenset[Key]:
    """Return the keys whose run is no longer at the version that was planned on."""
    versions = streams.versions(session, [change.run.stream.id for change in changes])
    return frozenset(c.run.stream.key for c in changes if versions.get(c.run.stream.id) != c.run.stream.version)
