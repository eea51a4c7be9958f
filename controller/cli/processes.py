"""The commands that are processes of their own: controller, proxy, broker, demo source, migrations of the database.

Each imports its house only when it runs. Options stand for settings of the same name and win over the environment.
"""

import sys
from pathlib import Path

import click

from controller.cli import files, process

supervised = click.option(
    "supervisor_pid", "--supervisor-pid", type=int, hidden=True, envvar=process.SUPERVISOR_VARIABLE
)
database_option = click.option("--database-url", metavar="URL", help="sqlite:///PATH or postgresql://…")
data_option = click.option("--data", "data_dir", metavar="DIR", help="Folder of the database and generated secrets.")


@click.command()
@click.option("--http", metavar="HOST:PORT", help="Where the page, the REST API and the metrics listen.")
@database_option
@data_option
@click.option("--mqtt-url", metavar="URL", help="The broker: mqtt://[USER:PASSWORD@]HOST:PORT, or mqtts://")
@click.option("--proxy", "proxies", metavar="URL", multiple=True, help="Address of a proxy; may be repeated.")
@supervised
def controller(supervisor_pid: int | None, proxies: tuple[str, ...], **options: str | None) -> None:
    """Run a controller: it decides, and remembers.

    What has no option here is set by the environment.
    """
    process.begin("controller", supervisor_pid)
    from controller import settings

    with process.refusing_to_start():
        chosen = settings.load({**options, "proxies": proxies or None})
    files.make_data_dir(chosen.data_dir)
    from controller import app  # after the settings: a mistake in them is told at once

    app.main(chosen)


@click.command()
@supervised
def proxy(supervisor_pid: int | None) -> None:
    """Run a proxy: it moves bytes, and forgets.

    Set by the environment: PENSTOCK_PROXY_HTTP, PENSTOCK_PROXY_CONTROL_TOKEN, ...
    """
    process.begin("proxy", supervisor_pid)
    from proxy import settings

    with process.refusing_to_start():
        chosen = settings.load()
    from proxy import app

    sys.exit(app.main(chosen))


@click.command(hidden=True)
@click.option("--bind", metavar="HOST:PORT", default="127.0.0.1:1883", show_default=True)
@supervised
def broker(supervisor_pid: int | None, bind: str) -> None:
    """Run the embedded MQTT broker (MQTT 3.1.1, for first steps on one machine)."""
    process.begin("broker", supervisor_pid)
    from controller import telemetry
    from controller.cli import broker as embedded

    telemetry.configure("auto", "info")
    process.run(lambda stop: embedded.serve(bind, stop))


@click.command()
@click.option(
    "--mqtt-url",
    metavar="URL",
    default="mqtt://127.0.0.1:1883",
    show_default=True,
    envvar="PENSTOCK_MQTT_URL",
    show_envvar=True,
)
@click.option("--key", default="demo", show_default=True, help="Key of the stream.")
@supervised
def demo(supervisor_pid: int | None, mqtt_url: str, key: str) -> None:
    """Announce a demo stream over MQTT, as sources do."""
    process.begin("demo", supervisor_pid)
    from controller import telemetry
    from controller.cli import demo as source

    telemetry.configure("auto", "info")
    process.run(lambda stop: source.announce(mqtt_url, key, stop))


@click.group()
def db() -> None:
    """Migrate the database, or show where it stands."""


@db.command()
@database_option
@data_option
def upgrade(**options: str | None) -> None:
    """Bring the database to the newest schema; does nothing when it is there."""
    from controller.store import migrate

    migrate.upgrade(_database_url(options))


@db.command()
@click.argument("revision")
@database_option
@data_option
def downgrade(revision: str, **options: str | None) -> None:
    """Take the schema back to REVISION (an id, or -1 for one step)."""
    from controller.store import migrate

    migrate.downgrade(_database_url(options), revision)


@db.command()
@database_option
@data_option
def current(**options: str | None) -> None:
    """Print the revision of the database."""
    from controller.store import migrate

    click.echo(migrate.current(_database_url(options)) or "empty")


def _database_url(options: dict[str, str | None]) -> str:
    from controller import settings

    with process.refusing_to_start():
        chosen = settings.load_database(options)
    files.make_data_dir(chosen.data_dir)
    return chosen.database_url


@click.command(hidden=True)
@click.argument("page", required=False)
@click.option("--write", "folder", metavar="DIR", help="Write all of them there.")
def reference(page: str | None, folder: str | None) -> None:
    """Print a PAGE of the reference (settings, cli), or write all of them."""
    from controller.cli import reference as made

    if folder is not None:
        made.write(Path(folder))
    elif page is not None and f"{page}.md" in made.pages():
        click.echo(made.pages()[f"{page}.md"], nl=False)
    else:
        raise click.UsageError(f"name one of {', '.join(made.pages())}, or --write DIR")
