"""Pages of ``docs/reference`` that are made from the code: the settings of both houses, and this command line.

A house test compares the pages with what is made here; ``make docs`` writes them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from controller import settings as controller_settings
from controller.cli import drifts, states
from proxy import settings as proxy_settings

MADE = "<!-- Made by `make docs` from the code. Edits here are lost. -->"


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    return {"settings.md": settings_page(), "cli.md": cli_page(), "states.md": states.page(), "drift.md": drifts.page()}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        MADE,
        "",
        "Settings are environment variables, read once at start. Options of the command line win over them. A value",
        "that cannot be understood keeps the process from starting: one line names the variable, exit code 2.",
        "",
        "## Controller",
        "",
        *_table(controller_settings.PREFIX, controller_settings.Settings.model_fields),
        "",
        "## Proxy",
        "",
        *_table(proxy_settings.PREFIX, proxy_settings.Settings.model_fields),
        "",
        "## Command line",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
        "| `PENSTOCK_API_URL` | `http://127.0.0.1:8080` | The controller that `penstock get` and the like ask. |",
        "| `PENSTOCK_API_TOKEN` | | Token that they show to it. |",
        "",
    ]
    return "\n".join(lines)


def _table(prefix: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for name, field in fields.items():
        yield f"| `{prefix}{name.upper()}` | {_default(field)} | {_meaning(field)} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "*computed*"
    value = field.default
    if value is None or value is PydanticUndefined or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool | int | float):
        return f"`{json.dumps(value)}`"
    return f"`{', '.join(value) if isinstance(value, tuple) else value}`"


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def cli_page() -> str:
    from controller.cli import cli

    context = click.Context(cli, info_name="penstock", help_option_names=["-h", "--help"])
    lines = ["# Command line", "", MADE, ""]
    for path, command, ctx in _commands(cli, context):
        lines += [f"## `{path}`", "", "```text", command.get_help(ctx), "```", ""]
    return "\n".join(lines)


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    context.terminal_width = 100
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _commands(child, click.Context(child, info_name=name, parent=context))
