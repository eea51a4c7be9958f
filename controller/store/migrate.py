"""Bring a database's schema up to date, from an installed package: alembic's configuration is built here, not read.

All steps of one call run in one transaction, alone among all processes: on SQLite by ``BEGIN IMMEDIATE``, on Postgres
by an advisory lock. Whoever comes second finds nothing left to do. These functions block; they are called before the
event loop runs, or from a thread.
"""

import contextlib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import DatabaseError, StartupError
from controller.store import dialects
from controller.store.tables import metadata


def upgrade(url: str, revision: str = "head") -> None:
    """Run the steps up to a revision.

    Raises:
        DatabaseError: a step failed; nothing of this call is kept.
        StartupError: the URL cannot be read.
    """
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Run the steps back to a revision, or ``base``. Raises as ``upgrade`` does."""
    _run(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """Return the revision the database is at; None when it has none. Raises as ``upgrade`` does."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """Return the newest revision."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


def differences(url: str) -> list[Any]:
    """Return how the database differs from the tables, in alembic's words; empty when it does not."""
    with _connection(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def check_is_current(url: str) -> None:
    """Refuse to start on a database of another version.

    Raises:
        StartupError: it is at another revision, or at none.
    """
    found, wanted = current(url), head()
    if found is None:
        raise StartupError("the database is empty: run `penstock db upgrade`")
    if found not in _known_revisions():
        raise StartupError(f"the database is at {found}, which a newer penstock wrote; this one knows {wanted}")
    if found != wanted:
        raise StartupError(f"the database is at {found}, not at {wanted}: run `penstock db upgrade`")


def _run(url: str, steps: Callable[[Config], None]) -> None:
    with _connection(url) as connection:
        config = _config()
        config.attributes["connection"] = connection
        steps(config)
        connection.commit()


@contextlib.contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """Open a connection whose transactions are alone, without the checks that rebuilding a table would trip over."""
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True, for_schema=True)
    try:
        with built.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise DatabaseError(f"{type(error).__name__}: {error}") from error
    finally:
        built.dispose()


def _known_revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    # A percent sign in the path would be read as an interpolation.
    location = str(resources.files("migrations")).replace("%", "%%")
    config.set_main_option("script_location", location)
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
