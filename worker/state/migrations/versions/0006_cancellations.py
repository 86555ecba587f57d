"""What operators took back."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "cancellations",
        sa.Column("scope", sa.String(160), primary_key=True, comment="campaign:NAME, route:NAME or message:ID"),
        sa.Column("at", sa.Double(), nullable=False),
    )
