"""What the log says of a cycle: a line that sums it up, one for each action and each that is held, with the reason.

Quiet where nothing changed: what is held for the same reason as before is not told again. Steps that are no repair are
told at the level debug, since a thousand streams that start make three thousand of them.
"""

import structlog

from controller.domain.plan import Action, Verb
from controller.reconcile.queue import Look
from controller.store.drift import DriftNews
from controller.store.plans import Made

log = structlog.get_logger(__name__)


class Reporter:
    """Tells of cycles, and remembers what it has told of what is held."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, str], str] = {}

    def report(self, look: Look, made: Made, news: DriftNews, seconds: float) -> None:
        """Tell of one cycle."""
        planned = made.plan
        for action in planned.actions:
            if action.drift is None:
                self._tell_step(action)
            elif action.verb is not Verb.HOLD or action.drift.drift_key in news.changed:
                _tell_drift(action)
        if look.is_full:
            self._forget(planned.actions)
        if planned.is_empty and not (news.changed or news.repaired):
            return
        log.info(
            "reconcile.completed",
            scope="full" if look.is_full else len(look.keys or ()),
            streams=len(made.desired.runs),
            sessions=sum(len(view.sessions) for view in made.observed.proxies),
            proxies=len(made.observed.proxies),
            actions=len(planned.actions),
            drifts=sum(1 for action in planned.actions if action.drift is not None),
            held=sum(1 for action in planned.actions if action.verb is Verb.HOLD),
            repaired=len(news.repaired),
            seconds=round(seconds, 4),
        )

    def _tell_step(self, action: Action) -> None:
        if action.verb is not Verb.HOLD:
            log.debug("action.taken", action=action.verb.value, **_about(action))
        elif self._held.get(_name(action)) != action.gate:
            self._held[_name(action)] = action.gate
            log.info("action.held", gate=action.gate, **_about(action))

    def _forget(self, actions: tuple[Action, ...]) -> None:
        held = {_name(action) for action in actions if action.verb is Verb.HOLD and action.drift is None}
        self._held = {name: gate for name, gate in self._held.items() if name in held}


def _name(action: Action) -> tuple[str, str, str]:
    return action.stream_id, action.proxy_id, action.why


def _about(action: Action) -> dict[str, str | int]:
    return {
        "key": action.key,
        "stream": action.stream_id,
        "proxy": action.proxy_id,
        "generation": action.generation,
        "why": action.why,
    }


def _tell_drift(action: Action) -> None:
    assert action.drift is not None
    event = "drift.held" if action.verb is Verb.HOLD else "drift.repaired"
    log.warning(
        event,
        kind=action.drift.kind.value,
        drift_class=action.drift.kind.drift_class.value,
        key=action.key,
        stream=action.stream_id,
        proxy=action.proxy_id,
        generation=action.generation,
        source=action.drift.source_id,
        evidence=action.drift.evidence,
        action=action.verb.value,
        gate=action.gate,
    )
