"""Suppressions stand by reason, each by itself; and the index of caps."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # Made anew and filled, alike on both engines: a primary key cannot be changed in place on one of them.
    op.rename_table("suppressions", "suppressions_before")
    op.create_table(
        "suppressions",
        sa.Column("person", sa.String(40), nullable=False),
        sa.Column("scope", sa.String(12), nullable=False, comment="marketing or everything"),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person", "scope", "reason", name="suppressions_by_reason"),
    )
    op.execute("INSERT INTO suppressions SELECT person, scope, reason, at FROM suppressions_before")
    op.drop_table("suppressions_before")
    its = sa.text("person IS NOT NULL")
    op.create_index("ledger_person", "ledger", ["person", "claimed_at"], postgresql_where=its, sqlite_where=its)
