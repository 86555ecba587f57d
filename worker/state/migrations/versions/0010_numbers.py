"""What is known of numbers: when they were looked up, and how often a provider refused them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "numbers",
        sa.Column("person", sa.String(40), primary_key=True),
        sa.Column("line", sa.String(12), nullable=True, comment="live, dead or undecided, as it was looked up last"),
        sa.Column("checked_at", sa.Double(), nullable=True),
        sa.Column("strikes", sa.Integer(), nullable=False, server_default="0", comment="of the transactional account"),
        sa.Column("marketing_strikes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("struck_at", sa.Double(), nullable=True),
    )
