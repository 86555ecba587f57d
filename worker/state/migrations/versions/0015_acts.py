"""
Acts are named by person, event and purpose, and no longer by a place in a log; skipped records by their time, too.

The version before works on: it inserts with ON CONFLICT DO NOTHING, whatever the constraints are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_NAMED = ["subject", "source", "event_id", "act", "purpose", "content"]
_HAS_SOURCE = sa.text("source IS NOT NULL")


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        _upgrade_postgresql()
        return
    with op.batch_alter_table("skips") as skips:
        skips.add_column(sa.Column("record_ms", sa.BigInteger()))
    _rebuild_on_sqlite()


def _upgrade_postgresql() -> None:
    op.execute("ALTER TABLE skips ADD COLUMN IF NOT EXISTS record_ms BIGINT")
    op.execute("ALTER TABLE consents ADD COLUMN IF NOT EXISTS source VARCHAR(512)")
    op.execute("ALTER TABLE consents ADD COLUMN IF NOT EXISTS content VARCHAR(80)")
    op.execute("ALTER TABLE consents DROP CONSTRAINT IF EXISTS consents_record")
    with op.get_context().autocommit_block():  # concurrently: withdrawals are written meanwhile
        op.execute(sa.text("DROP INDEX IF EXISTS consents_act"))  # of an attempt that was broken off
        op.create_index(
            "consents_act",
            "consents",
            _NAMED,
            unique=True,
            postgresql_where=_HAS_SOURCE,
            postgresql_concurrently=True,
        )


def _rebuild_on_sqlite() -> None:
    """Make the table again: SQLite cannot drop a constraint."""
    op.rename_table("consents", "consents_before")
    for index in ("consents_person", "consents_erasure", "ix_consents_subject"):
        op.execute(f"DROP INDEX IF EXISTS {index}")
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("subject", sa.String(40), nullable=False),
        sa.Column("person", sa.String(40)),
        sa.Column("act", sa.String(10), nullable=False),
        sa.Column("purpose", sa.String(40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("channel", sa.String(20)),
        sa.Column("wording_version", sa.String(60)),
        sa.Column("source", sa.String(512)),
        sa.Column("event_id", sa.String(512), nullable=False),
        sa.Column("content", sa.String(80)),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
    )
    kept = (
        'id, subject, person, act, purpose, at, channel, wording_version, event_id, topic, "partition", "offset", '
        "sealed, recorded_at"
    )
    op.execute(f"INSERT INTO consents ({kept}) SELECT {kept} FROM consents_before")  # noqa: S608  names of columns
    op.drop_table("consents_before")
    op.create_index("ix_consents_subject", "consents", ["subject"])
    op.create_index("consents_person", "consents", ["person", "act", "purpose", "at"])
    op.create_index("consents_erasure", "consents", ["recorded_at"], sqlite_where=sa.text("channel = 'erasure'"))
    op.create_index("consents_act", "consents", _NAMED, unique=True, sqlite_where=_HAS_SOURCE)
