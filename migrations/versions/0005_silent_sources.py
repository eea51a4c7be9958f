"""Sources that are connected and do not answer: what is known of them, and the drift that has a source and no stream.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_OPEN = sa.text("repaired_at IS NULL")


def upgrade() -> None:
    op.add_column("sources", sa.Column("answers_births", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("sources", sa.Column("silent_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("drift", sa.Column("source_id", sa.Text(), nullable=False, server_default=sa.text("''")))
    _identify_by("kind", "source_id", "proxy_id", "stream_id", "generation")


def downgrade() -> None:
    # Those of sources would be one and the same to older code.
    op.execute("DELETE FROM drift WHERE source_id <> ''")
    _identify_by("kind", "proxy_id", "stream_id", "generation")
    op.drop_column("drift", "source_id")
    op.drop_column("sources", "silent_since")
    op.drop_column("sources", "answers_births")


def _identify_by(*columns: str) -> None:
    """Say which columns make two open rows the same drift."""
    op.drop_index("uq_drift_open", table_name="drift")
    op.create_index(
        "uq_drift_open", "drift", list(columns), unique=True, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN
    )
