"""Which processes run, with which configuration and key."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":  # the other one keeps to no length
        op.alter_column("facts", "name", type_=sa.String(120), existing_nullable=False)
    op.create_table(
        "processes",
        sa.Column("incarnation", sa.String(40), primary_key=True),
        sa.Column("host", sa.String(120), nullable=False),
        sa.Column("duties", sa.String(120), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("configuration", sa.String(20), nullable=False, comment="hash of the content it runs"),
        sa.Column("refused", sa.Boolean(), nullable=False, comment="it was offered another one, and keeps this"),
        sa.Column("ring_keys", sa.Text(), nullable=False, comment="names of the key ring's keys, as JSON"),
        sa.Column("current_key", sa.String(60), nullable=False, comment="that wraps what it wraps"),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )
