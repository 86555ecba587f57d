"""When jobs that recur were last done, last signs of people, and an index of what is begun and not ended."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("succeeded_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "signs",
        sa.Column("person", sa.String(40), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
    )
    which = sa.text("state IN ('released', 'in_doubt')")
    if op.get_context().dialect.name != "postgresql":
        op.create_index("ledger_open", "ledger", ["state"], sqlite_where=which)
        return
    with op.get_context().autocommit_block():  # concurrently: a ledger is large, and is written all the time
        op.execute(sa.text("DROP INDEX IF EXISTS ledger_open"))  # of an attempt that was broken off
        op.create_index("ledger_open", "ledger", ["state"], postgresql_where=which, postgresql_concurrently=True)
