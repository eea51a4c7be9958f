"""What a plan stops for want of a row: judged together, since one by one they cannot tell a restored database."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.domain.breaker import Breaker, Glance, Scale, closed, digest, find_cause, judge
from controller.domain.budgets import Spent, within_window
from controller.domain.observation import ProxyView, Session
from controller.domain.plan.scene import Scene
from controller.domain.plan.taxonomy import GateKind
from controller.domain.plan.vocabulary import Drift, Gate, Standing


@dataclass(frozen=True, slots=True)
class Due:
    """A session that nothing but its number and the breaker keep from being stopped."""

    view: ProxyView
    session: Session
    drift: Drift


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of them, and of the breaker."""

    breaker: Breaker
    quiet: int
    glance: Glance | None
    digest: str = ""
    """Names what an approval would release."""
    approval: str = ""
    """The approval that was used up."""
    stopped: tuple[Due, ...] = ()
    held: tuple[tuple[Due, Gate], ...] = ()


def decide(due: Sequence[Due], barred: Sequence[Due], scene: Scene, standing: Standing, *, wanted: int) -> Verdict:
    """Decide on all sessions that would be stopped without evidence, where ``wanted`` ones should be seen.

    ``barred`` are those that are held already, by an operator or since this controller has just begun. They open
    nothing, and keep what is open: what nobody may stop is not quiet.
    """
    desired, now = scene.desired, scene.now
    breaker = replace(desired.breaker, spent=within_window(desired.breaker.spent, now))
    if desired.keys is not None:
        # Part of the world says nothing about how much of it is concerned.
        return Verdict(breaker, standing.quiet, standing.glance, held=tuple((one, FULL_LOOK) for one in due))
    scale = _measure(due, scene, wanted)
    measured = _measure((*due, *barred), scene, wanted) if breaker.is_open else scale
    breaker, quiet = judge(breaker, find_cause(measured, standing.glance, scene.policy.limits), standing.quiet, now)
    name = digest(breaker, (_target(one) for one in due))
    if name in desired.approvals:
        spent = (*breaker.spent, (now, len(due))) if due else breaker.spent
        return Verdict(replace(closed(breaker), spent=spent), 0, scale.glance, name, name, stopped=tuple(due))
    if breaker.is_open:
        gate = Gate(GateKind.BREAKER, f"two quiet plans, or `penstock approve {name}`: {breaker.cause}")
        return Verdict(breaker, quiet, scale.glance, name, held=tuple((one, gate) for one in due))
    stopped, held, spent = _pay(due, scene, breaker.spent)
    return Verdict(replace(breaker, spent=spent), quiet, scale.glance, name, "", stopped, held)


def _pay(due: Sequence[Due], scene: Scene, spent: Spent) -> tuple[tuple[Due, ...], tuple[tuple[Due, Gate], ...], Spent]:
    """Stop what the allowance of the window and the rate let through."""
    left = scene.policy.limits.allowance(scene.fleet.session_count) - sum(count for _, count in spent)
    stopped: list[Due] = []
    held: list[tuple[Due, Gate]] = []
    for one in due:
        if len(stopped) >= left:
            held.append((one, WINDOW_FULL))
        elif scene.warden.purse.pay_unevidenced():
            stopped.append(one)
        else:
            held.append((one, RATE))
    return tuple(stopped), tuple(held), (*spent, (scene.now, len(stopped))) if stopped else spent


def _measure(due: Sequence[Due], scene: Scene, wanted: int) -> Scale:
    views = scene.fleet.views.values()
    listed: dict[str, int] = {view.proxy_id: len(view.sessions) for view in views if view.is_fresh}
    return Scale(
        glance=Glance(scene.now, len(scene.desired.runs), sum(listed.values())),
        closed_since=scene.desired.closed_since,
        wanted=wanted,
        proxies=len(views),
        proxies_fresh=len(listed),
        sessions=listed,
        due=Counter(one.view.proxy_id for one in due),
    )


def _target(one: Due) -> tuple[str, ...]:
    session = one.session
    return (one.view.proxy_id, one.view.boot_id, session.stream_id, str(session.epoch), str(session.generation))


FULL_LOOK = Gate(GateKind.FULL_LOOK, "the next look at everything")
WINDOW_FULL = Gate(GateKind.BUDGET, "the end of the ten minutes within which no more may be stopped without evidence")
RATE = Gate(GateKind.BUDGET, "the next look: so many are stopped at once without evidence, and no more")
