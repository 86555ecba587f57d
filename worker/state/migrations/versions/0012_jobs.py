"""When jobs that recur were last done, last signs of people, and indexes of what is open and of what is paused."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    # Each is left alone if it is there: an upgrade that was broken off is run again.
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("succeeded_at", sa.Double(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "signs",
        sa.Column("person", sa.String(40), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        if_not_exists=True,
    )
    paused, is_open = sa.text("reason = 'paused'"), sa.text("state IN ('released', 'in_doubt')")
    op.create_index(
        "deferred_paused", "deferred", ["due"], sqlite_where=paused, postgresql_where=paused, if_not_exists=True
    )
    if op.get_context().dialect.name != "postgresql":
        op.create_index("ledger_open", "ledger", ["state"], sqlite_where=is_open)
        return
    with op.get_context().autocommit_block():  # concurrently: a ledger is large, and is written all the time
        op.execute(sa.text("DROP INDEX IF EXISTS ledger_open"))  # of an attempt that was broken off
        op.create_index("ledger_open", "ledger", ["state"], postgresql_where=is_open, postgresql_concurrently=True)
