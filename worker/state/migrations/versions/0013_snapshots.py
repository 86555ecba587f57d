"""What one process counts of the whole deployment, for all of them to tell."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.Column("counted_at", sa.Double()),
        sa.Column("value", sa.Text()),
        if_not_exists=True,
    )
