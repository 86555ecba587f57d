"""
The ledger is kept as long as anything could ask it: then its rows go, and the last sign of a person stays.

Nothing revives an expired message but a new id, and lanes keep records for 67 days; so a row that ended longer ago than
`retention.ledger_days` decides nothing any more. What proves a marketing text stays for the term of proofs.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.ledger import OPEN, State
from worker.policy.rules import RetentionRules
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.retention import ANSWERED
from worker.state.tables import ledger, numbers, signs

PAGES, ROWS = 2_000, 5_000  # of a piece: 16 MiB of a table of PostgreSQL, rows of SQLite
PROOFS = "marketing:"
ENDED = [state.value for state in State if state not in OPEN]


class Pruning:
    """Deletes ledger rows that are over. Every method may raise StateUnavailable."""

    def __init__(self, database: Database, rules: RetentionRules) -> None:
        self._database = database
        self._ledger_s = timedelta(days=rules.ledger_days).total_seconds()
        self._proof_s = timedelta(days=rules.proof_days).total_seconds()
        self._prospect_s = timedelta(days=rules.prospect_days).total_seconds()

    async def pieces(self) -> int:
        """Return how many pieces the ledger has, for whoever shows progress; it may be one more by the end."""
        if not self._database.is_postgresql:
            return 1
        async with self._database.reading() as connection:
            size = sa.text("SELECT pg_relation_size('ledger') / current_setting('block_size')::int")
            return int(await connection.scalar(size) or 0) // PAGES + 1

    async def run(self, *, delete: bool) -> AsyncIterator[int]:
        """Yield, piece by piece, how many rows are over; with *delete* they are gone then."""
        for piece in range(await self.pieces()):
            where = self._over()
            if (
                self._database.is_postgresql
            ):  # a stretch of the table as it lies on disk: no index, and nothing read twice
                first, last = (f"({number * PAGES},0)" for number in (piece, piece + 1))
                where = sa.and_(where, sa.text(f"ledger.ctid >= '{first}'::tid AND ledger.ctid < '{last}'::tid"))
            async for count in self._piece(where, delete=delete):
                yield count

    async def forget(self) -> int:
        """Delete signs, and what was found out of numbers, that are older than anybody is remembered; return how many."""
        since, known = db_now() - self._prospect_s, sa.func.coalesce(numbers.c.checked_at, 0.0)
        old = (signs.delete().where(signs.c.at < since),
               numbers.delete().where(known < since, sa.func.coalesce(numbers.c.struck_at, 0.0) < since))  # fmt: skip
        async with self._database.transaction() as connection:
            return sum([(await connection.execute(statement)).rowcount for statement in old])

    async def _piece(self, where: sa.ColumnElement[bool], *, delete: bool) -> AsyncIterator[int]:
        if not delete:
            async with self._database.reading() as connection:
                yield await connection.scalar(sa.select(sa.func.count()).select_from(ledger).where(where)) or 0
            return
        while True:
            async with self._database.transaction() as connection:
                some = sa.select(ledger.c.message_id).where(where).limit(ROWS)
                gone = ledger.delete().where(ledger.c.message_id.in_(some))
                rows = (await connection.execute(gone.returning(*_KEPT))).all()
                await self._remember(connection, rows)
            yield len(rows)
            if len(rows) < ROWS:
                return

    def _over(self) -> sa.ColumnElement[bool]:
        proves = sa.and_(ledger.c.scope.startswith(PROOFS), ledger.c.state.in_([State.SENT.value, State.UNKNOWN.value]))
        return sa.and_(
            ledger.c.state.in_(ENDED),
            ledger.c.updated_at < db_now() - self._ledger_s,
            sa.or_(ledger.c.person.is_(None), sa.not_(proves), ledger.c.updated_at < db_now() - self._proof_s),
        )

    async def _remember(self, connection: AsyncConnection, rows: Sequence[Any]) -> None:
        """Keep when each person was last texted about something they did: it is a sign of them (`retention`)."""
        latest: dict[str, float] = {}
        for row in rows:
            if row.person and row.claimed_at and (row.scope or "").startswith(ANSWERED):
                latest[row.person] = max(row.claimed_at, latest.get(row.person, 0.0))
        if not latest:
            return
        statement = inserting(self._database.is_postgresql)(signs)
        later = statement.on_conflict_do_update(
            index_elements=["person"], set_={"at": statement.excluded.at}, where=signs.c.at < statement.excluded.at
        )
        await connection.execute(later, [{"person": person, "at": at} for person, at in sorted(latest.items())])


_KEPT = (ledger.c.person, ledger.c.scope, ledger.c.claimed_at)
