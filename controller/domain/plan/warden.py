"""The gates that do not depend on a kind of drift: what operators allow, and whether this controller may stop anything.

Asked just before a step is taken. None means that it may be; else the gate says what has to happen first.
"""

from collections.abc import Sequence

from controller.domain.budgets import Purse
from controller.domain.controls import Control, Controls, Mode
from controller.domain.plan.taxonomy import Budget, DriftKind, GateKind
from controller.domain.plan.vocabulary import Gate, Standing


class Warden:
    """Lets steps through, or names the gate that holds them."""

    def __init__(self, controls: Controls, standing: Standing, purse: Purse) -> None:
        self._controls = controls
        self.purse = purse
        self._startup = Gate(GateKind.STARTUP, standing.startup) if standing.startup else None

    @property
    def has_controls(self) -> bool:
        return bool(self._controls)

    def may_start(self, key: str, proxy_id: str) -> Gate | None:
        """Whether a session may be asked for, or moved away from a proxy."""
        mode, control = self._controls.limit(key, proxy_id)
        return _gate(control) if mode is Mode.OBSERVE else None

    def may_end(self, key: str, proxy_id: str = "") -> Gate | None:
        """Whether a run may be ended by a clock, or because its session is over."""
        mode, control = self._controls.limit(key, proxy_id)
        return None if mode is Mode.ENFORCE else _gate(control)

    def may_stop(
        self, key: str, proxy_id: str, *, kind: DriftKind | None = None, is_decided: bool = False
    ) -> Gate | None:
        """Whether a session may be stopped, as a repair of this kind. If so, and it has a price, that is paid.

        ``is_decided``: its run has ended, and this only tells its proxy again.
        """
        gate = self.may_end(key, proxy_id) or (None if is_decided else self._startup)
        if gate is None and kind is not None and kind.rule.budget is Budget.EVIDENCED:
            return None if self.purse.pay_evidenced(proxy_id) else OVERDRAWN
        return gate

    def may_place(self, key: str, proxy_ids: Sequence[str]) -> Gate | None:
        """Whether a run may be placed on one of these proxies; it may where there is none to be forbidden."""
        if not self._controls:
            return None
        gates = [self.may_start(key, proxy_id) for proxy_id in proxy_ids]
        return gates[0] if gates and None not in gates else None

    def control_of(self, key: str) -> Control | None:
        """Return the control that an operator has set on this very key."""
        return self._controls.of_stream(key)


OVERDRAWN = Gate(GateKind.BUDGET, "its turn: so many are stopped in a second on one proxy, and no more")


def _gate(control: Control | None) -> Gate:
    assert control is not None  # without one the mode is enforce
    return Gate(GateKind.CONTROL, f"the end of {control}")
