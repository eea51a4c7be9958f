"""The ``penstock`` command.

Processes (``serve``, ``controller``, ``proxy``, ``db``) and questions to a running controller (``get``, ``why``,
``plan``, ...), the latter over the public REST API alone. Modules here import nothing heavy at their top: a question
must not wait for SQLAlchemy or FastAPI to be loaded, and shell completion runs this program at every TAB.
"""

import click
from typing_extensions import override

from controller.cli import act, doctor, get, processes, serve
from controller.cli.client import Api
from controller.errors import StartupError

EXIT_CANNOT_START = 2


class CannotStartError(click.ClickException):
    """Shown as plain lines, with exit code 2."""

    exit_code = EXIT_CANNOT_START

    @override
    def show(self, file: object = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"penstock: {line}", err=True)


class Penstock(click.Group):
    """The group of all commands; what keeps a process from starting is told in one line, not as a traceback."""

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StartupError as error:
            raise CannotStartError(error.detail) from error


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib import metadata

    try:
        version = metadata.version("penstock")
    except metadata.PackageNotFoundError:
        version = "(from a checkout, not installed)"
    click.echo(f"penstock {version}")
    ctx.exit()


@click.group(cls=Penstock, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version, exit."
)
@click.option(
    "--api",
    "url",
    metavar="URL",
    envvar="PENSTOCK_API_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The controller to ask.",
)
@click.option("--token", metavar="TOKEN", envvar="PENSTOCK_API_TOKEN", help="Token of its API.")
@click.pass_context
def cli(ctx: click.Context, url: str, token: str | None) -> None:
    """Penstock: a live-stream gateway that cannot lose track of its streams."""
    ctx.obj = Api(url, token)


for command in (
    serve.serve,
    processes.controller,
    processes.proxy,
    processes.broker,
    processes.demo,
    processes.db,
    get.get,
    get.describe,
    get.why,
    act.stop,
    act.apply,
    act.plan,
    act.reconcile,
    doctor.doctor,
    act.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    cli(prog_name="penstock")
