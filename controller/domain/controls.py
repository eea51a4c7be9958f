"""What operators allow the control loop to do: modes and pauses, of everything, of a proxy, of a key.

They limit what the loop decides by itself: starts, moves, repairs, ends by its own clocks. An end that a source or an
operator decides is carried out all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from typing_extensions import override


class Scope(StrEnum):
    GLOBAL = "global"
    PROXY = "proxy"
    STREAM = "stream"


class Mode(StrEnum):
    """How much the control loop may do."""

    ENFORCE = "enforce"
    """Everything."""
    ADDITIVE_ONLY = "additive_only"
    """Start what is missing, and stop and end nothing."""
    OBSERVE = "observe"
    """Nothing: only look, and write down what is seen."""


MODE, PAUSE = "mode", "pause"
"""Names of controls. A pause is the mode ``observe`` for a time, whatever other modes say."""

DRAIN, DECOMMISSION = "drain", "decommission"
"""Of a proxy: it takes nothing new, and what it runs is moved away; or it is gone for good, by an operator's word."""


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that an operator has set."""

    scope: Scope
    subject: str
    """A proxy's id or a stream's key; empty for the global scope."""
    name: str
    """``mode``, ``pause``, ``drain``, ``decommission``."""
    value: str
    owner: str
    why: str
    set_at: datetime
    expires_at: datetime | None = None

    @override
    def __str__(self) -> str:
        whose = {Scope.GLOBAL: "everything", Scope.PROXY: f"proxy {self.subject}", Scope.STREAM: f"key {self.subject}"}
        what = f"mode {self.value}" if self.name == MODE else f"a {self.name}"
        until = f" until {self.expires_at:%Y-%m-%d %H:%M:%S} UTC" if self.expires_at is not None else ""
        why = f" ({self.why})" if self.why else ""
        return f"{what} of {whose[self.scope]}, set by {self.owner}{until}{why}"


class Controls:
    """The controls that hold now, asked about one action at a time."""

    def __init__(self, held: Iterable[Control] = ()) -> None:
        held = tuple(held)
        self._modes = {(c.scope, c.subject): c for c in held if c.name == MODE}
        self._pauses = {(c.scope, c.subject): c for c in held if c.name == PAUSE}
        self.decommissioned = frozenset(c.subject for c in held if c.name == DECOMMISSION)
        """Proxies that are gone for good."""
        self.drained = frozenset(c.subject for c in held if c.name == DRAIN) | self.decommissioned
        """Proxies that take nothing new."""

    def __bool__(self) -> bool:
        """Whether anything at all is limited, perhaps."""
        return bool(self._modes or self._pauses)

    def limit(self, key: str, proxy_id: str = "") -> tuple[Mode, Control | None]:
        """Return how much may be done about a key on a proxy, and the control that says so.

        Any pause wins. Of modes the narrowest wins: a stream's over its proxy's, and that over the global one.
        """
        if not self:
            return Mode.ENFORCE, None
        scopes = ((Scope.STREAM, key), (Scope.PROXY, proxy_id), (Scope.GLOBAL, ""))
        for scope in scopes:
            if scope in self._pauses:
                return Mode.OBSERVE, self._pauses[scope]
        for scope in scopes:
            if scope in self._modes:
                control = self._modes[scope]
                return Mode(control.value), control
        return Mode.ENFORCE, None

    @property
    def keys(self) -> frozenset[str]:
        """The keys that have a control of their own, whether or not it limits them."""
        return frozenset(subject for scope, subject in (*self._pauses, *self._modes) if scope is Scope.STREAM)

    def of_stream(self, key: str) -> Control | None:
        """Return the control of the stream's own scope that limits it, if one does."""
        found = self._pauses.get((Scope.STREAM, key)) or self._modes.get((Scope.STREAM, key))
        return found if found is not None and found.value != Mode.ENFORCE else None
