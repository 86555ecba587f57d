"""What the ledger proves after a resend, and which letter was handled, should its topic be made anew."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("ledger", sa.Column("given_up", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("handled_letters", sa.Column("letter_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_seen_events_recorded_at", "seen_events", ["recorded_at"], unique=False)
