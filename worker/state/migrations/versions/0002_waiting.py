"""Messages that wait, and events that make some of them pointless."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("ledger", sa.Column("step", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "deferred",
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("template", sa.String(length=100), nullable=False),
        sa.Column("recipient", sa.String(length=40), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("taken_until", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index("deferred_due", "deferred", ["lane", "due"], unique=False)
    op.create_table(
        "seen_events",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
