"""``penstock doctor``: looks at this machine and at the controller, and says what is wrong and what to do about it.

It only looks. Every check is one line; the exit code is 1 when one of them failed.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from controller.cli.client import Api, Item, NotReachableError, RefusedError

PYTHON_MINIMUM = (3, 11)
FREE_BYTES_MIN = 500_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    is_fine: bool
    what: str
    advice: str = ""
    is_optional: bool = False


@click.command()
@click.option(
    "--data", metavar="DIR", default=".penstock", show_default=True, envvar="PENSTOCK_DATA_DIR", show_envvar=True
)
@click.pass_obj
def doctor(api: Api, data: str) -> None:
    """Look for what is wrong, here and at the controller."""
    findings = [*look_at_machine(Path(data)), *look_at_controller(api)]
    for finding in findings:
        mark, colour = (
            ("ok  ", "green") if finding.is_fine else (("note", "yellow") if finding.is_optional else ("BAD ", "red"))
        )
        click.echo(f"{click.style(mark, fg=colour)} {finding.what}")
        if finding.advice and not finding.is_fine:
            click.echo(f"     {finding.advice}")
    if any(not finding.is_fine and not finding.is_optional for finding in findings):
        raise click.exceptions.Exit(1)


def look_at_machine(data_dir: Path) -> Iterator[Finding]:
    """Look at what Penstock needs of this machine."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(sys.version_info >= PYTHON_MINIMUM, f"Python {version}", "Penstock needs Python 3.11 or newer.")
    if not data_dir.exists():
        yield Finding(True, f"data folder {data_dir}: not there yet; `penstock serve` makes it")
        return
    mode = data_dir.stat().st_mode & 0o777
    yield Finding(os.access(data_dir, os.W_OK), f"data folder {data_dir} can be written", "Check its owner.")
    yield Finding(mode & 0o077 == 0, f"data folder {data_dir} is private", f"It holds secrets: chmod 700 {data_dir}")
    free = shutil.disk_usage(data_dir).free
    yield Finding(free > FREE_BYTES_MIN, f"{free // 1_000_000} MB free at {data_dir}", "Make room: history needs it.")


def look_at_controller(api: Api) -> Iterator[Finding]:
    """Ask the controller about itself, its proxies and its drift."""
    try:
        alive = api.get("/healthz")
    except NotReachableError as error:
        yield Finding(False, f"controller at {api.url}", f"{error.message}. Is `penstock serve` running?")
        return
    except RefusedError as error:
        yield Finding(False, f"controller at {api.url}", error.message)
        return
    yield Finding(True, f"controller at {api.url}, version {alive.get('version', '?')}")
    try:
        yield from _look_at_readiness(api)
        yield from _look_at_proxies(api)
        yield _look_at_drift(api)
    except (NotReachableError, RefusedError) as error:
        yield Finding(False, "the controller answers questions", error.message)


def _look_at_readiness(api: Api) -> Iterator[Finding]:
    status, ready = api.ask("GET", "/readyz")
    for name in ("database", "observation", "broker"):
        check: Item = ready.get(name) or {"ok": False, "detail": f"no word about it (status {status})"}
        yield Finding(bool(check["ok"]), f"{name}: {check.get('detail') or 'fine'}", "The controller's log says more.")
    leader = ready.get("leader")
    yield Finding(
        bool(leader),
        f"controller {leader} leads{', and answers here' if ready.get('is_leader') else ''}"
        if leader
        else "nobody leads",
        "One leads within 20 s where the database answers. The log says `leadership.unknown` where not.",
    )


def _look_at_proxies(api: Api) -> Iterator[Finding]:
    proxies = api.items("/proxies")
    if not proxies:
        yield Finding(False, "no proxy is known", "Name them with PENSTOCK_PROXIES.")
    for proxy in proxies:
        name = proxy.get("id") or proxy["url"]
        yield Finding(
            proxy["freshness"] == "fresh",
            f"proxy {name} at {proxy['url']}: {proxy['freshness']}",
            f"{proxy.get('error') or 'It does not answer.'} Check its address and PENSTOCK_CONTROL_TOKEN at both ends.",
        )


def _look_at_drift(api: Api) -> Finding:
    found: Item = api.get("/debug/sync-check", live=1)["discrepancies"]
    wrong = [f"{name}: {', '.join(keys)}" for name, keys in found.items() if isinstance(keys, list) and keys]
    return Finding(
        not found["has_issues"],
        "what runs is what should run" if not wrong else f"what runs differs from what should run: {'; '.join(wrong)}",
        "`penstock plan` shows what is done about it, `penstock why KEY` tells the story.",
    )
