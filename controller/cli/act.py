"""What changes something: ``stop``, ``apply``, ``reconcile`` and their like; and ``plan``, which shows what would."""

import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any, TextIO

import click

from controller.cli import tables
from controller.cli.client import Api, Item, RefusedError
from controller.cli.controls import owner_option, why_option
from controller.cli.get import complete_keys, find, output_option, show


@click.command()
@click.argument("names", metavar="KEY|ID...", nargs=-1, required=True, shell_complete=complete_keys)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def stop(api: Api, names: tuple[str, ...], yes: bool) -> None:
    """End streams. Viewers get their end, and the proxies let go of the upstreams."""
    streams = [find(api, name) for name in names]
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here; say --yes")
        told = ", ".join(f"{stream['key']} ({stream['state']}, {stream['viewers']} viewers)" for stream in streams)
        click.confirm(f"Stop {told}?", abort=True)
    for stream in streams:
        after = api.delete(f"/streams/{stream['id']}")
        click.echo(f"{stream['key']}: {after['state']}")


@click.command()
@click.argument("viewers", metavar="VIEWER...", nargs=-1, required=True)
@click.pass_obj
def kick(api: Api, viewers: tuple[str, ...]) -> None:
    """End viewers, by the ids that `penstock get viewers -o wide` shows. Their streams go on."""
    for viewer in viewers:
        api.delete(f"/viewers/{urllib.parse.quote(viewer, safe='')}")
        click.echo(f"{viewer}: ended")


@click.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.pass_obj
def unblock(api: Api, keys: tuple[str, ...]) -> None:
    """Let keys start again that ended as a loop. They do with their next announcement."""
    for key in keys:
        api.delete(f"/blocks/{urllib.parse.quote(key, safe='')}")
        click.echo(f"{key}: may start again")


@click.command()
@click.option("-f", "--file", "source", type=click.File("r"), required=True, help="YAML or JSON; - for standard input.")
@click.pass_obj
def apply(api: Api, source: TextIO) -> None:
    """Announce the streams of a file. To announce one again, unchanged, changes nothing."""
    for wish in read_wishes(source.read()):
        stream = api.post("/streams", wish)
        click.echo(f"{stream['key']}: {stream['state']}")


def read_wishes(text: str) -> list[dict[str, Any]]:
    """Read one stream, a list of them, or ``streams:`` / ``items:`` above such a list."""
    import yaml

    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise click.UsageError(f"the file is not YAML: {' '.join(str(error).split())}") from error
    wishes: list[Any] = []
    for document in documents:
        found = document.get("streams", document.get("items", [document])) if isinstance(document, dict) else document
        wishes.extend(found if isinstance(found, list) else [found])
    for number, wish in enumerate(wishes, 1):
        if not isinstance(wish, dict) or "key" not in wish or "upstreams" not in wish:
            raise click.UsageError(f"stream {number} of the file lacks `key` or `upstreams`")
    if not wishes:
        raise click.UsageError("the file holds no stream")
    return wishes


@click.command()
@output_option
@click.pass_obj
def plan(api: Api, output: str) -> None:
    """Show what the control loop would do now, and what it holds back. Nothing is done."""
    answer = api.get("/reconcile/plan")
    _show_actions(answer, output, "Nothing to do: what runs is what should run.")
    if output in ("json", "yaml"):
        return
    if answer["breaker"]["is_open"]:
        click.echo(f"The breaker is open since {answer['breaker']['opened_at']}: {answer['breaker']['cause']}.")
    if answer["digest"]:
        click.echo(f"To have done what is held for want of evidence: penstock approve {answer['digest']}")


@click.command()
@click.argument("digest")
@owner_option
@why_option
@click.pass_obj
def approve(api: Api, digest: str, owner: str, why: str) -> None:
    """Approve what `penstock plan` holds for want of evidence: exactly that, once, within 15 minutes."""
    given = api.post("/reconcile/approvals", {"digest": digest, "owner": owner, "why": why})
    click.echo(f"{digest}: approved by {given['owner']} until {given['expires_at']}")


@click.command()
@output_option
@click.pass_obj
def reconcile(api: Api, output: str) -> None:
    """Run one full cycle of the control loop now, and show what it did."""
    answer = api.post("/reconcile/run")
    cycle = answer.get("cycle") or {"actions": []}
    if cycle.get("error"):
        raise RefusedError(200, f"the cycle failed: {cycle['error']}")
    _show_actions({"items": cycle["actions"]}, output, "Nothing had to be done: what runs is what should run.")


def _show_actions(answer: Item, output: str, nothing: str) -> None:
    actions: Sequence[Item] = answer["items"]
    if actions or output in ("json", "yaml"):
        show(actions, tables.ACTIONS, output)
    else:
        click.echo(nothing)


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell: eval "$(penstock completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choice above names only shells that click knows
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "penstock", "_PENSTOCK_COMPLETE").source())
