"""Budgets, and the abuse guard for codes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "ledger", sa.Column("reserved", sa.Double(), nullable=True, comment="money, in the account's currency")
    )
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column(
            "bucket", sa.BigInteger(), primary_key=True, comment="seconds since 1970; 0 where the name says the time"
        ),
        sa.Column("amount", sa.Double(), nullable=False),
    )
    op.create_table(
        "code_numbers",
        sa.Column("block", sa.String(40), primary_key=True),
        sa.Column("person", sa.String(40), primary_key=True, index=True),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("at", sa.Double(), nullable=False, index=True),
        sa.Column("verified_at", sa.Double(), nullable=True),
    )
    op.create_table(
        "guards",
        sa.Column("scope", sa.String(80), primary_key=True, comment="country:XX, number:HASH, block:HASH or spend"),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("blocked_until", sa.Double(), nullable=False),
        sa.Column("allowed_until", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
    )
