"""Columns for people: what `penstock get` shows of each kind, as plain aligned text that grep and awk can read.

It formats what the API answered and computes nothing but ages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from controller.cli.client import Item

MISSING = "-"
ALARMS = frozenset({"EpochRegressed", "EndHeld", "Looping", "Paused"})
"""Conditions that are bad when they are True."""
COLOURS = {
    "LIVE": "green",
    "flowing": "green",
    "fresh": "green",
    "PENDING": "yellow",
    "STARTING": "yellow",
    "connecting": "yellow",
    "waiting": "yellow",
    "stale": "yellow",
    "STALLED": "red",
    "stalled": "red",
    "lost": "red",
    "never": "red",
    "ENDED": "magenta",
}


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    value: Callable[[Item], object]
    is_wide: bool = False
    """Shown with ``-o wide`` only."""


def field(title: str, name: str | None = None, *, is_wide: bool = False) -> Column:
    """Return a column that shows one field as it is; by default the one the title names."""
    key = name or title.lower()
    return Column(title, lambda item: item.get(key), is_wide)


def age(value: object, now: datetime | None = None) -> str:
    """Return how long ago an ISO time was, as ``8s``, ``5m``, ``3h`` or ``2d``."""
    if not isinstance(value, str):
        return MISSING
    then = datetime.fromisoformat(value)
    return duration(((now or datetime.now(UTC)) - then).total_seconds())


def duration(seconds: object) -> str:
    """Return seconds as the largest unit that fits."""
    if not isinstance(seconds, int | float):
        return MISSING
    left = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if left >= 2 * size or (unit != "m" and left >= size):
            return f"{left // size}{unit}"
    return f"{left}s"


def _leaving(proxy: Item) -> str:
    return " (decommissioned)" if proxy.get("is_decommissioned") else " (draining)" if proxy.get("is_draining") else ""


def amount(value: object) -> str:
    """Return a number with a decimal prefix: ``7.9M``."""
    if not isinstance(value, int | float):
        return MISSING
    size = float(value)
    for prefix in ("", "k", "M", "G"):
        if abs(size) < 1000:
            return f"{size:.0f}" if not prefix else f"{size:.1f}{prefix}"
        size /= 1000
    return f"{size:.1f}T"


def _state(stream: Item) -> str:
    reason = stream.get("reason")
    return f"{stream['state']} ({reason})" if reason else str(stream["state"])


def _carried_by(stream: Item) -> str:
    return ",".join(f"{s['proxy_id']}:{s.get('state') or 'missing'}" for s in stream.get("sessions", ())) or MISSING


def _trouble(stream: Item) -> str:
    """Return what an operator should know first: the message of a condition that is not as it should be."""
    bad = (c for c in stream.get("conditions", ()) if c["status"] == ("True" if c["type"] in ALARMS else "False"))
    return next((f"{c['type']}: {c['message'] or c['reason']}" for c in bad), MISSING)


def _pairs(values: Mapping[str, object]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items()) or MISSING


def _upstreams(stream: Item) -> str:
    return " ".join(upstream["url"] for upstream in stream["spec"]["upstreams"])


STREAMS = (
    field("KEY"),
    Column("STATE", _state),
    Column("FOR", lambda s: age(s.get("state_since"))),
    field("VIEWERS"),
    Column("SESSIONS", _carried_by),
    Column("NOTE", _trouble),
    field("ID", is_wide=True),
    field("EPOCH", is_wide=True),
    field("GEN", "generation", is_wide=True),
    field("SOURCE", is_wide=True),
    Column("OUTPUTS", lambda s: ",".join(s["spec"]["outputs"]), is_wide=True),
    Column("UPSTREAMS", _upstreams, is_wide=True),
    Column("LABELS", lambda s: _pairs(s.get("labels", {})), is_wide=True),
)
SESSIONS = (
    field("KEY"),
    field("PROXY", "proxy_id"),
    field("STATE"),
    field("PLACEMENT", "placement_state"),
    field("VIEWERS"),
    Column("BITRATE", lambda s: amount(s.get("bitrate_bps"))),
    Column("UP", lambda s: duration(s.get("uptime_seconds"))),
    Column("LAST BYTE", lambda s: duration(s.get("last_byte_age_seconds"))),
    field("EPOCH", is_wide=True),
    field("GEN", "generation", is_wide=True),
    Column("IN", lambda s: amount(s.get("bytes_in")), is_wide=True),
    Column("OUT", lambda s: amount(s.get("bytes_out")), is_wide=True),
    field("STREAM", "stream_id", is_wide=True),
    field("DETAIL", is_wide=True),
)
PROXIES = (
    field("PROXY", "id"),
    Column("STATUS", lambda p: f"{p['freshness']}{_leaving(p)}"),
    Column("SESSIONS", lambda p: f"{p['sessions']}/{p['sessions_max']}" if p.get("sessions_max") else p["sessions"]),
    field("VIEWERS"),
    Column("BITRATE", lambda p: amount(p.get("bitrate_bps"))),
    Column("SEEN", lambda p: age(p.get("observed_at"))),
    field("VIEWERS AT", "public_url"),
    field("FOUND AT", "url", is_wide=True),
    field("BOOT", "boot_id", is_wide=True),
    field("SEQUENCE", is_wide=True),
    field("ERROR", is_wide=True),
)
DRIFT = (
    Column("KEY", lambda d: d.get("key") or (f"source:{d['source_id']}" if d.get("source_id") else None)),
    field("KIND"),
    field("CLASS", "drift_class"),
    field("PROXY", "proxy_id"),
    Column("FOR", lambda d: age(d.get("first_seen"))),
    field("LOOKS"),
    field("ACTION"),
    field("HELD BY", "gate"),
    Column("REPAIRED", lambda d: age(d.get("repaired_at"))),
    field("GEN", "generation", is_wide=True),
    field("STREAM", "stream_id", is_wide=True),
    field("EVIDENCE", is_wide=True),
)
VIEWERS = (
    field("KEY"),
    field("PROTOCOL"),
    field("ADDRESS"),
    Column("FOR", lambda v: duration(v.get("since_seconds"))),
    Column("SENT", lambda v: amount(v.get("bytes_sent"))),
    Column("BITRATE", lambda v: amount(v.get("rate_bps"))),
    Column("BEHIND", lambda v: amount(v.get("lag_bytes"))),
    field("MOVED", "moves"),
    field("PLAYER", "user_agent"),
    field("ID", is_wide=True),
    field("PROXY", "proxy_id", is_wide=True),
)
CONTROLS = (
    field("OF", "scope"),
    field("NAME", "subject"),
    field("CONTROL", "name"),
    field("MODE", "value"),
    field("BY", "owner"),
    field("UNTIL", "expires_at"),
    field("WHY"),
)
BLOCKS = (
    field("KEY"),
    field("REASON"),
    Column("FOR", lambda b: age(b.get("blocked_at"))),
    field("UNTIL", "expires_at"),
    field("REFUSED"),
    field("BY", "refused_source"),
    field("STREAM", "stream_id", is_wide=True),
    field("DETAIL", is_wide=True),
)
ACTIONS = (
    field("ACTION", "verb"),
    field("KEY"),
    field("PROXY", "proxy_id"),
    field("GEN", "generation"),
    field("DRIFT", "drift_kind"),
    field("HELD BY", "gate"),
    field("WHY"),
)
TRANSITIONS = (
    field("AT"),
    Column("MOVE", lambda t: f"{t.get('from_state') or 'new'} -> {t['to_state']}"),
    field("EVENT"),
    field("REASON"),
    field("BY", "actor"),
    field("DETAIL"),
)


def rows(items: Iterable[Item], columns: Sequence[Column], *, wide: bool) -> list[list[str]]:
    """Return the table as text, its titles first."""
    shown = [column for column in columns if wide or not column.is_wide]
    return [[column.title for column in shown], *([_cell(column.value(item)) for column in shown] for item in items)]


def lines(table: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> list[str]:
    """Align the columns of a table; ``widths`` makes later rows stand below earlier ones."""
    measured = widths or widths_of(table)
    return ["  ".join(_pad(cell, width) for cell, width in zip(row, measured, strict=True)).rstrip() for row in table]


def widths_of(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*table, strict=True)]


def _cell(value: object) -> str:
    return MISSING if value is None or value == "" else " ".join(str(value).split())


def _pad(cell: str, width: int) -> str:
    colour = COLOURS.get(cell.partition(" ")[0])
    shown = click.style(cell, fg=colour) if colour else cell
    return shown + " " * (width - len(cell))
