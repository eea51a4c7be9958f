"""Runs the steps on the connection that ``controller.store.migrate`` hands in, inside its transaction.

Alembic's own logging set-up is left out on purpose: the process has one already.
"""

from alembic import context

from controller.store.tables import metadata


def run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        # SQLite changes a column by building the table anew.
        render_as_batch=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
