"""Suppressions that were lifted, so that a proof can say what held on a day that is past."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    erased = sa.text("channel = 'erasure'")
    op.create_index("consents_erasure", "consents", ["recorded_at"], postgresql_where=erased, sqlite_where=erased)
    op.create_index("ix_deferred_recipient", "deferred", ["recipient"])
    op.create_table(
        "past_suppressions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("person", sa.String(40), nullable=False, index=True),
        sa.Column("scope", sa.String(12), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
    )
