"""What the control loop may do: ``pause``, ``resume``, ``mode``, of everything, of a proxy, or of a key; ``drain``."""

import getpass
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

import click
from typing_extensions import override

from controller.cli.client import Api
from controller.cli.get import complete_keys

MODES = ("enforce", "additive_only", "observe")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")

F = TypeVar("F", bound=Callable[..., Any])


class Span(click.ParamType[float]):
    """A time as people write it: ``90``, ``10m``, ``2h``; in seconds."""

    name = "time"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = SPAN.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time (90, 10m, 2h, 1d)", param, ctx)
        return float(found[1]) * UNITS[found[2] or "s"]


def target_options(function: F) -> F:
    """Say of what: a key, ``--proxy``, or ``--all``."""
    for decorate in (
        click.option("--all", "everything", is_flag=True, help="Of everything."),
        click.option("--proxy", metavar="ID", help="Of a proxy."),
        click.argument("key", required=False, shell_complete=complete_keys),
    ):
        function = decorate(function)
    return function


owner_option = click.option("--owner", metavar="NAME", default=getpass.getuser, help="Who wants it; by default you.")
why_option = click.option("--why", metavar="TEXT", default="", help="For those who wonder.")


def path_of(key: str | None, proxy: str | None, everything: bool) -> tuple[str, str]:
    """Return where the target's controls are, and what it is called. Raises UsageError unless one is named."""
    if sum((key is not None, proxy is not None, everything)) != 1:
        raise click.UsageError("say of what: a KEY, --proxy ID, or --all")
    if key is not None:
        return f"/streams/{urllib.parse.quote(key, safe='')}", key
    if proxy is not None:
        return f"/proxies/{urllib.parse.quote(proxy, safe='')}", f"proxy {proxy}"
    return "/reconcile", "everything"


@click.command()
@target_options
@click.option("--for", "seconds", type=Span(), required=True, help="How long: 90, 10m, 2h, 1d.")
@owner_option
@why_option
@click.pass_obj
def pause(
    api: Api, *, key: str | None, proxy: str | None, everything: bool, seconds: float, owner: str, why: str
) -> None:
    """Let the control loop do nothing for a time. What is ended, ends all the same."""
    path, name = path_of(key, proxy, everything)
    held = api.put(f"{path}/pause", {"for_seconds": seconds, "owner": owner, "why": why})
    click.echo(f"{name}: paused by {held['owner']} until {held['expires_at']}")


@click.command()
@target_options
@click.pass_obj
def resume(api: Api, key: str | None, proxy: str | None, everything: bool) -> None:
    """End a pause before its time."""
    path, name = path_of(key, proxy, everything)
    api.delete(f"{path}/pause")
    click.echo(f"{name}: not paused any more")


@click.command()
@click.argument("mode", type=click.Choice((*MODES, "unset")))
@target_options
@click.option("--for", "seconds", type=Span(), help="How long: 90, 10m, 2h, 1d. By default until it is changed.")
@owner_option
@why_option
@click.pass_obj
def mode(
    api: Api,
    *,
    mode: str,
    key: str | None,
    proxy: str | None,
    everything: bool,
    seconds: float | None,
    owner: str,
    why: str,
) -> None:
    """Set how much the control loop may do, or unset it. The narrowest mode counts: a key's, its proxy's, --all."""
    path, name = path_of(key, proxy, everything)
    if mode == "unset":
        api.delete(f"{path}/mode")
    else:
        api.put(f"{path}/mode", {"mode": mode, "for_seconds": seconds, "owner": owner, "why": why})
    click.echo(f"{name}: mode {mode}")


@click.command()
@click.argument("proxy")
@click.option("--end", is_flag=True, help="Place streams on it again.")
@owner_option
@why_option
@click.pass_obj
def drain(api: Api, *, proxy: str, end: bool, owner: str, why: str) -> None:
    """Place nothing more on a proxy, and move away what it runs. Viewers are sent on."""
    path, name = path_of(None, proxy, everything=False)
    if end:
        api.delete(f"{path}/drain")
        click.echo(f"{name}: takes streams again")
        return
    api.post(f"{path}/drain", {"owner": owner, "why": why})
    click.echo(f"{name}: is being drained; `penstock get proxies` shows what is left")


@click.command()
@click.argument("proxy")
@click.option("--undo", is_flag=True, help="Take it back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@owner_option
@why_option
@click.pass_obj
def decommission(api: Api, *, proxy: str, undo: bool, yes: bool, owner: str, why: str) -> None:
    """Say that a proxy is gone for good: nothing waits for it any more."""
    path, name = path_of(None, proxy, everything=False)
    if undo:
        api.delete(f"{path}/decommission")
        click.echo(f"{name}: is reckoned with again")
        return
    if not yes:
        click.confirm(f"Is {name} surely gone? If it runs still, its streams run twice", abort=True)
    api.post(f"{path}/decommission", {"owner": owner, "why": why})
    click.echo(f"{name}: counts as gone while it does not answer")
