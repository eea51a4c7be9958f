"""The documents about what operators allow the control loop: controls, the breaker, approvals. As in ``schemas``."""

from datetime import datetime

from typing_extensions import TypedDict

from controller.domain.controls import Scope


class ControlDocument(TypedDict):
    """What an operator allows the control loop to do. ``subject`` is a proxy's id or a key; empty for everything."""

    scope: Scope
    subject: str
    name: str
    value: str
    owner: str
    why: str
    set_at: datetime
    expires_at: datetime | None


class ControlList(TypedDict):
    items: list[ControlDocument]
    next_cursor: str | None


class BreakerDocument(TypedDict):
    """Whether stops without evidence are held back altogether, since when and why."""

    is_open: bool
    opened_at: datetime | None
    cause: str


class ApprovalDocument(TypedDict):
    """An operator's word that what a plan holds may be done. It counts once, for a quarter of an hour."""

    id: int
    digest: str
    owner: str
    why: str
    at: datetime
    expires_at: datetime
    used_at: datetime | None


class ApprovalList(TypedDict):
    items: list[ApprovalDocument]
    next_cursor: str | None
