"""Questions about what is: ``get``, ``describe``, ``why``. They change nothing."""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterable, Sequence

import click

from controller.cli import tables
from controller.cli.client import Api, Item

OUTPUTS = ("table", "wide", "json", "yaml")
KINDS: dict[str, tuple[str, Sequence[tables.Column], str]] = {
    "streams": ("/streams", tables.STREAMS, "id"),
    "sessions": ("/sessions", tables.SESSIONS, "stream_id"),
    "proxies": ("/proxies", tables.PROXIES, "id"),
    "drift": ("/drift", tables.DRIFT, "id"),
    "viewers": ("/viewers", tables.VIEWERS, "id"),
    "controls": ("/reconcile/controls", tables.CONTROLS, "subject"),
    "blocks": ("/blocks", tables.BLOCKS, "key"),
}
"""Path, columns, and the field that tells items apart."""
STATUSES = ("pending", "starting", "live", "stalled", "ended", "closed", "active", "all")

output_option = click.option(
    "-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="How to print it."
)


def complete_keys(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer the keys of the streams at every TAB; nothing when nobody answers."""
    root = ctx.find_root()
    try:
        items = Api(str(root.params.get("url")), root.params.get("token")).items("/streams")
    except click.ClickException:
        return []
    return sorted({str(item["key"]) for item in items if str(item["key"]).startswith(incomplete)})


@click.command()
@click.argument("kind", type=click.Choice(tuple(KINDS)))
@click.argument("key", required=False, shell_complete=complete_keys)
@output_option
@click.option("-w", "--watch", is_flag=True, help="Go on, and show what changes.")
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, help="Seconds between two looks with --watch.")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="Streams in this state only.")
@click.option("-l", "--label", metavar="NAME=VALUE", help="Streams with this label only.")
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Streams that are closed and drifts that are repaired, too."
)
@click.pass_obj
def get(
    api: Api,
    *,
    kind: str,
    key: str | None,
    output: str,
    watch: bool,
    every: float,
    status: str | None,
    label: str | None,
    everything: bool,
) -> None:
    """List streams, sessions, proxies, drift, viewers, controls or blocked keys; of one KEY, if given."""
    if (status or label) and kind != "streams":
        raise click.UsageError("--status and --label are for streams")
    path, columns, identity = KINDS[kind]
    query: dict[str, str | None] = {}
    if kind == "streams":
        query = {"status": status or ("all" if everything else None), "label": label, "key": key}
    elif kind == "drift" and everything:
        query = {"open": "false"}

    def look() -> list[Item]:
        return [item for item in api.items(path, **query) if key is None or item.get("key") == key]

    if watch:
        follow(look, columns, identity, output, every)
    else:
        show(look(), columns, output)


def show(items: Sequence[Item], columns: Sequence[tables.Column], output: str) -> None:
    """Print a list as asked for."""
    if output == "json":
        click.echo(json.dumps({"items": items}, indent=2, ensure_ascii=False))
    elif output == "yaml":
        click.echo(to_yaml({"items": list(items)}), nl=False)
    elif not items:
        click.echo("none", err=True)
    else:
        for line in tables.lines(tables.rows(items, columns, wide=output == "wide")):
            click.echo(line)


def follow(
    look: Callable[[], list[Item]], columns: Sequence[tables.Column], identity: str, output: str, every: float
) -> None:
    """Print the list, then every item that is new, differs or has gone, until interrupted."""
    before: dict[str, str] = {}
    widths: list[int] = []
    while True:
        items = {_name(item, identity): item for item in look()}
        if output in ("json", "yaml"):
            fresh = {name: json.dumps(item, ensure_ascii=False) for name, item in items.items()}
            news = [text for name, text in fresh.items() if before.get(name) != text]
        else:
            table = tables.rows(items.values(), columns, wide=output == "wide")
            if not widths:
                widths = tables.widths_of(table)
                click.echo(tables.lines(table[:1], widths)[0])
            fresh = dict(zip(items, tables.lines(table[1:], widths), strict=True))
            news = [line for name, line in fresh.items() if before.get(name) != line]
        for line in (*news, *(f"gone: {name}" for name in before.keys() - fresh.keys())):
            click.echo(line)
        before = fresh
        time.sleep(every)


def _name(item: Item, identity: str) -> str:
    words = (item.get("key"), item.get(identity), item.get("generation"))
    return " ".join(dict.fromkeys(str(word) for word in words if word not in (None, "")))


def to_yaml(value: object) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def find(api: Api, name: str) -> Item:
    """Return the stream of that id, or the newest run of that key."""
    return api.get(f"/streams/{urllib.parse.quote(name, safe='')}")


@click.command()
@click.argument("name", metavar="KEY|ID", shell_complete=complete_keys)
@click.option("-o", "--output", type=click.Choice(("text", "json", "yaml")), default="text", show_default=True)
@click.pass_obj
def describe(api: Api, name: str, output: str) -> None:
    """Show all about one stream: conditions, sessions, history."""
    stream = find(api, name)
    moves = api.items(f"/streams/{stream['id']}/transitions")
    if output == "json":
        click.echo(json.dumps({**stream, "transitions": moves}, indent=2, ensure_ascii=False))
    elif output == "yaml":
        click.echo(to_yaml({**stream, "transitions": moves}), nl=False)
    else:
        for line in _describe(stream, moves):
            click.echo(line)


def _policy(spec: Item) -> str:
    kept = "on demand" if spec["on_demand"] else "always open"
    limit = f"; at most {spec['viewers_max']} viewers" if spec.get("viewers_max") else ""
    prefer = f"; prefers {spec['prefer']}" if len(spec["upstreams"]) > 1 and "prefer" in spec else ""
    return f"{kept}; at the upstream's end: {spec['on_eof']}{prefer}{limit}"


def _describe(stream: Item, moves: Sequence[Item]) -> Iterable[str]:
    spec = stream["spec"]
    facts = {
        "Key": stream["key"],
        "Id": stream["id"],
        "State": f"{stream['state']}, for {tables.age(stream['state_since'])}",
        "Ended": stream.get("reason") and f"{stream['reason']} ({stream['outcome']}) {stream.get('reason_detail', '')}",
        "Fence": f"epoch {stream['epoch']}, generation {stream['generation']}",
        "Source": stream["source"],
        "Upstreams": "\n".join(upstream["url"] for upstream in spec["upstreams"]),
        "Outputs": ", ".join(spec["outputs"]),
        "Policy": _policy(spec),
        "Labels": ", ".join(f"{name}={value}" for name, value in stream["labels"].items()),
        "Viewers": stream["viewers"],
    }
    width = max(len(name) for name in facts) + 2
    for name, value in facts.items():
        first, *more = str(value or tables.MISSING).splitlines()
        yield f"{name + ':':<{width}}{first}"
        yield from (" " * width + line for line in more)
    yield from _section("Conditions", stream["conditions"], CONDITIONS)
    yield from _section(
        "Sessions", [{**session, "key": stream["key"]} for session in stream["sessions"]], tables.SESSIONS
    )
    yield from _section("History", moves[::-1], tables.TRANSITIONS)


CONDITIONS = (
    tables.field("TYPE"),
    tables.field("STATUS"),
    tables.field("REASON"),
    tables.Column("FOR", lambda condition: tables.age(condition.get("since"))),
    tables.field("MESSAGE"),
)


def _section(title: str, items: Sequence[Item], columns: Sequence[tables.Column]) -> Iterable[str]:
    yield ""
    yield f"{title}:" if items else f"{title}: none"
    if items:
        yield from (f"  {line}" for line in tables.lines(tables.rows(items, columns, wide=False)))


@click.command()
@click.argument("name", metavar="KEY|ID", shell_complete=complete_keys)
@click.pass_obj
def why(api: Api, name: str) -> None:
    """Tell in plain sentences why a stream is as it is."""
    story = api.get(f"/streams/{find(api, name)['id']}/why")
    for sentence in story["sentences"]:
        click.echo(sentence["text"])
    if story.get("waits_for"):
        click.echo(f"Waits for: {story['waits_for']}")
