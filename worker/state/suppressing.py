"""Numbers that must not be texted, by their keyed hash: no number is kept, so a suppression outlives its owner's erasure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from worker.policy.consent import Scope, SuppressedFor
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import past_suppressions, suppressions


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
        Write *rows*; what is there already stays, unless a later time is given.

        Each reason stands by itself: a STOP never replaces a complaint.

        Raises:
            StateUnavailable: The database does not answer; nothing was written.
        """
        insert = inserting(self._database.is_postgresql)
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, {row.person for row in rows})
            for row in sorted(rows, key=lambda row: (row.person, row.scope, row.reason)):
                at = db_now() if row.at is None else sa.literal(row.at)
                statement = insert(suppressions).values(
                    person=row.person, scope=row.scope.value, reason=row.reason.value, at=at
                )
                key = ["person", "scope", "reason"]
                if row.at is None:  # nobody says when: whoever agreed since is not silenced by the same list again
                    await connection.execute(statement.on_conflict_do_nothing(index_elements=key))
                    continue
                its = (suppressions.c[name] == getattr(row, name) for name in key)
                await connection.execute(_kept(suppressions.c.at < row.at, *its))
                later = statement.on_conflict_do_update(
                    index_elements=key,
                    set_={"at": statement.excluded.at},
                    where=suppressions.c.at < statement.excluded.at,
                )
                await connection.execute(later)

    async def remove(self, person: str, scope: Scope, reason: SuppressedFor | None = None) -> list[SuppressionRow]:
        """
        Lift the suppressions of a person in *scope*, of one reason or whatever their reasons; return them.

        Raises:
            StateUnavailable: The database does not answer.
        """
        its = [suppressions.c.person == person, suppressions.c.scope == scope.value]
        if reason is not None:
            its.append(suppressions.c.reason == reason.value)
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, {person})
            rows = (await connection.execute(sa.select(suppressions).where(*its))).all()
            await connection.execute(_kept(*its))
            await connection.execute(suppressions.delete().where(*its))
        return [_row(row) for row in rows]

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


def _kept(*which: sa.ColumnElement[bool]) -> sa.Insert:
    """Return what remembers suppressions that end now."""
    columns = ("person", "scope", "reason", "at")
    ended = sa.select(*(suppressions.c[name] for name in columns), db_now()).where(*which)
    return past_suppressions.insert().from_select([*columns, "until"], ended)


def _row(row: Any) -> SuppressionRow:
    return SuppressionRow(row.person, Scope(row.scope), SuppressedFor(row.reason), row.at)
