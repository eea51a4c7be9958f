"""What every process of a source has said already: so that what a dead one said, delivered again, proves nothing.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("birth_seq", sa.BigInteger(), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "boot_id", name=op.f("pk_processes")),
    )
    # Of each source the last birth that was counted is known.
    op.execute(
        "INSERT INTO processes (source_id, boot_id, birth_seq, turn, seen_at) "
        "SELECT id, birth_boot_id, birth_seq, NULL, seen_at FROM sources WHERE birth_seq IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table("processes")
