"""Keys that may not start again for a while.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blocks",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_source", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_blocks")),
    )
    op.create_index("ix_blocks_expires_at", "blocks", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_blocks_expires_at", table_name="blocks")
    op.drop_table("blocks")
