"""``penstock serve``: everything on one machine, with nothing else installed. Its work is in ``machine``."""

from typing import Any

import click

from controller.cli import process


@click.command()
@click.option(
    "--data",
    "data_dir",
    metavar="DIR",
    default=".penstock",
    show_default=True,
    envvar="PENSTOCK_DATA_DIR",
    show_envvar=True,
    help="Folder of the database and generated secrets.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    envvar="PENSTOCK_HTTP",
    show_envvar=True,
    help="Page and REST API.",
)
@click.option(
    "--media",
    metavar="HOST:PORT",
    default="127.0.0.1:8090",
    show_default=True,
    envvar="PENSTOCK_PROXY_HTTP",
    show_envvar=True,
    help="Streams, for players.",
)
@click.option(
    "--mqtt", metavar="HOST:PORT", default="127.0.0.1:1883", show_default=True, help="The embedded MQTT broker."
)
@click.option(
    "--mqtt-url",
    metavar="URL",
    envvar="PENSTOCK_MQTT_URL",
    show_envvar=True,
    help="A broker of your own instead of the embedded one.",
)
@click.option(
    "--database-url",
    metavar="URL",
    envvar="PENSTOCK_DATABASE_URL",
    show_envvar=True,
    help="A database of your own instead of SQLite in the data folder.",
)
@click.option("--demo", is_flag=True, help="Announce a demo stream, as a source would.")
def serve(**options: Any) -> None:
    """Run everything on this machine."""
    process.begin("serve")
    from controller.cli import machine

    machine.run(machine.read(**options))
