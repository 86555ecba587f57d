"""Numbers that must not be texted, by their keyed hash: no number is kept, so a suppression outlives its owner's erasure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from worker.policy.consent import Scope, SuppressedFor
from worker.state.database import Database
from worker.state.tables import db_now, suppressions


@dataclass(frozen=True, slots=True)
class SuppressionRow:
    """
    A suppression.

    Attributes:
        person: Keyed hash of the number.
        at: Seconds since 1970, when it was said; None for now.
    """

    person: str
    scope: Scope
    reason: SuppressedFor
    at: float | None = None


class Suppressing:
    """Writes under the persons' locks, the same that the fence takes: once it is committed, no text starts any more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Sequence[SuppressionRow]) -> None:
        """
        Write *rows*; of one person and scope the latest counts.

        Raises:
            StateUnavailable: The database does not answer; nothing was written.
        """
        insert: Any = postgresql.insert if self._database.is_postgresql else sqlite.insert
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, {row.person for row in rows})
            for row in sorted(rows, key=lambda row: (row.person, row.scope)):
                at = db_now() if row.at is None else sa.literal(row.at)
                statement = insert(suppressions).values(
                    person=row.person, scope=row.scope.value, reason=row.reason.value, at=at
                )
                later = statement.on_conflict_do_update(
                    index_elements=["person", "scope"],
                    set_={"reason": statement.excluded.reason, "at": statement.excluded.at},
                    where=suppressions.c.at <= statement.excluded.at,
                )
                await connection.execute(later)

    async def remove(self, person: str, scope: Scope) -> SuppressionRow | None:
        """
        Lift a suppression; return it, or None if there was none.

        Raises:
            StateUnavailable: The database does not answer.
        """
        its = (suppressions.c.person == person, suppressions.c.scope == scope.value)
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, {person})
            row = (await connection.execute(sa.select(suppressions).where(*its))).one_or_none()
            await connection.execute(suppressions.delete().where(*its))
        return None if row is None else _row(row)

    async def of(self, person: str) -> list[SuppressionRow]:
        """Return the suppressions of one person."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(suppressions).where(suppressions.c.person == person))
            return [_row(row) for row in rows]

    async def newest(self, most: int) -> list[SuppressionRow]:
        """Return the newest, up to *most*."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(suppressions).order_by(suppressions.c.at.desc()).limit(most))
            return [_row(row) for row in rows]

    async def count(self) -> dict[tuple[str, str], int]:
        """Return how many there are, by scope and reason."""
        counting = sa.select(suppressions.c.scope, suppressions.c.reason, sa.func.count()).group_by(
            suppressions.c.scope, suppressions.c.reason
        )
        async with self._database.reading() as connection:
            return {(scope, reason): count for scope, reason, count in await connection.execute(counting)}


def _row(row: Any) -> SuppressionRow:
    return SuppressionRow(row.person, Scope(row.scope), SuppressedFor(row.reason), row.at)
