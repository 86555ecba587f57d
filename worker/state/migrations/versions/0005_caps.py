"""Whose number a text went to, and what it counts as under that number's caps."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("ledger", sa.Column("person", sa.String(40), nullable=True))
    op.add_column("ledger", sa.Column("scope", sa.String(120), nullable=True))
    op.add_column("ledger", sa.Column("claimed_at", sa.Double(), nullable=True))
