"""The ``penstock`` command.

Processes (``serve``, ``controller``, ``proxy``, ``db``) and questions to a running controller (``get``, ``why``,
``plan``, ...), the latter over the public REST API alone. Modules here import nothing heavy at their top: a question
must not wait for SQLAlchemy or FastAPI to be loaded, and shell completion runs this program at every TAB.
"""

import sys

import click

from controller.cli import act, controls, doctor, get, processes, serve
from controller.cli.client import Api
from controller.errors import ControllerError, StartupError

EXIT_FAILED = 1
EXIT_CANNOT_START = 2


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version, exit."
)
@click.option(
    "--api",
    "url",
    metavar="URL",
    envvar="PENSTOCK_API_URL",
    show_envvar=True,
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The controller to ask.",
)
@click.option("--token", metavar="TOKEN", envvar="PENSTOCK_API_TOKEN", show_envvar=True, help="Token of its API.")
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
    processes.reference,
    get.get,
    get.describe,
    get.why,
    act.stop,
    act.kick,
    act.unblock,
    act.apply,
    act.plan,
    act.approve,
    act.reconcile,
    controls.pause,
    controls.resume,
    controls.mode,
    controls.drain,
    controls.decommission,
    doctor.doctor,
    act.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line. What keeps a process from starting is told in plain lines, not as a traceback."""
    try:
        cli(prog_name="penstock")
    except ControllerError as error:
        for line in str(error).splitlines():
            click.echo(f"penstock: {line}", err=True)
        sys.exit(EXIT_CANNOT_START if isinstance(error, StartupError) else EXIT_FAILED)
