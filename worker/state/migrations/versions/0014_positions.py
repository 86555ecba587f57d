"""How far each partition has been read, by the deployment."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "positions",
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True),
        sa.Column("topic_id", sa.String(32), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.Double()),
        if_not_exists=True,
    )
