"""The last that the control loop saw of each proxy, for readers in this process and in others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from controller.domain.model import ProxyId
from controller.domain.observation import ProxyView
from controller.store import dialects
from controller.store.tables import proxies

_VIEW = TypeAdapter(ProxyView)


@dataclass(frozen=True, slots=True)
class KnownProxy:
    view: ProxyView
    saved_at: datetime


def save(session: Session, views: Iterable[ProxyView], *, now: datetime) -> None:
    """Write what was seen. A view that was saved later than ``now`` stays."""
    values = [
        {
            "id": view.proxy_id,
            "url": view.url,
            "boot_id": view.boot_id,
            "freshness": view.freshness,
            "observed_at": view.observed_at,
            "view": _VIEW.dump_python(view, mode="json", exclude={"figures"}),
            "saved_at": now,
        }
        for view in views
    ]
    dialects.upsert(session, proxies, values, newer="saved_at")


def load(session: Session) -> tuple[KnownProxy, ...]:
    """Load the views by proxy id. One that another version wrote and this one cannot read is left out."""
    known: list[KnownProxy] = []
    for row in session.execute(select(proxies).order_by(proxies.c.id)):
        try:
            known.append(KnownProxy(_VIEW.validate_python(row.view), row.saved_at))
        except ValidationError:
            continue
    return tuple(known)


def forget(session: Session, proxy_id: ProxyId) -> None:
    """Delete a proxy that is no longer configured."""
    session.execute(delete(proxies).where(proxies.c.id == proxy_id))
