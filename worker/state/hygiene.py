"""
Number hygiene: which numbers are dead, by look-up or by two permanent refusals, and whose turn it is to be looked up.

A dead number is a suppression of everything. What a marketing account refuses twice may only stand on that account's own
STOP list, so it silences marketing alone.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from schemas.messages import Category
from worker.delivery.verdicts import Line
from worker.policy.consent import Scope, SuppressedFor
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.people import People
from worker.state.suppressing import Suppressing, SuppressionRow
from worker.state.tables import contacts, numbers, suppressions

STRIKES, FORGOTTEN_S = 2, 90 * 86_400.0  # refusals further apart say nothing together
PIECE = 500
FOR_CATEGORY = {
    Category.TRANSACTIONAL: (Scope.EVERYTHING, SuppressedFor.DEAD_NUMBER),
    Category.MARKETING: (Scope.MARKETING, SuppressedFor.PROVIDER_BLACKLIST),
}


class Stale(NamedTuple):
    """A contact's number that was not looked up lately."""

    person: str
    phone: str


class Hygiene:
    """Every method may raise StateUnavailable."""

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people
        self._suppressing = Suppressing(database)

    async def stale(self, older_than: timedelta) -> AsyncIterator[list[Stale]]:
        """Yield numbers of contacts that were not looked up for so long, and may be texted at all, some at a time."""
        last, since = "", db_now() - older_than.total_seconds()
        silent = sa.select(suppressions.c.person).where(suppressions.c.scope == Scope.EVERYTHING.value)
        wanted = (
            sa.select(sa.func.min(contacts.c.subject).label("subject"), contacts.c.person)
            .join_from(contacts, numbers, numbers.c.person == contacts.c.person, isouter=True)
            .where(contacts.c.sealed.is_not(None), contacts.c.person.not_in(silent))
            .where(sa.func.coalesce(numbers.c.checked_at, 0.0) < since)
            .group_by(contacts.c.person)
            .order_by(contacts.c.person)
            .limit(PIECE)
        )
        while True:
            async with self._database.reading() as connection:
                rows = (await connection.execute(wanted.where(contacts.c.person > last))).all()
            if not rows:
                return
            known = await self._people.load({row.subject for row in rows})
            people = ((row.person, its.contact) for row in rows if (its := known.get(row.subject)))
            yield [Stale(person, contact.phone) for person, contact in people if contact is not None]
            last = rows[-1].person

    async def count_stale(self, older_than: timedelta) -> int:
        """Return how many numbers `stale` would yield."""
        return sum([len(piece) async for piece in self.stale(older_than)])

    async def looked_up(self, found: Mapping[str, Line]) -> None:
        """Write down what look-ups said, by person; who is dead is texted no more."""
        insert = inserting(self._database.is_postgresql)
        statement = insert(numbers).values(checked_at=db_now(), strikes=0)
        fresh = {"line": statement.excluded.line, "checked_at": db_now()}
        again = statement.on_conflict_do_update(index_elements=["person"], set_=fresh)
        dead = [
            SuppressionRow(p, *FOR_CATEGORY[Category.TRANSACTIONAL]) for p, line in found.items() if line is Line.DEAD
        ]
        if dead:
            await self._suppressing.add(dead)
        if found:
            async with self._database.transaction() as connection:
                rows = [{"person": person, "line": line.value} for person, line in sorted(found.items())]
                await connection.execute(again, rows)

    async def strike(self, person: str, category: Category) -> bool:
        """Count a permanent refusal of a number by its category's account; return whether that makes it one too many."""
        insert = inserting(self._database.is_postgresql)
        mine = numbers.c.strikes if category is Category.TRANSACTIONAL else numbers.c.marketing_strikes
        old = numbers.c.struck_at < db_now() - FORGOTTEN_S
        counts = {c.name: sa.case((old, 0), else_=c) for c in (numbers.c.strikes, numbers.c.marketing_strikes)}
        more = {**counts, mine.name: sa.case((old, 1), else_=mine + 1), "struck_at": db_now()}
        statement = insert(numbers).values({"person": person, mine.name: 1, "struck_at": db_now()})
        counting = statement.on_conflict_do_update(index_elements=["person"], set_=more).returning(mine)
        async with self._database.transaction() as connection:
            strikes = await connection.scalar(counting) or 0
        if strikes < STRIKES:
            return False
        await self._suppressing.add([SuppressionRow(person, *FOR_CATEGORY[category])])
        return True

    async def revive(self, person: str) -> bool:
        """Lift a wrong verdict on a number; return whether there was one."""
        its = suppressions.c.person == person
        wrong = suppressions.c.reason.in_([reason.value for _, reason in FOR_CATEGORY.values()])
        async with self._database.reading() as connection:
            found = (await connection.execute(sa.select(suppressions).where(its, wrong))).all()
        for row in found:
            await self._suppressing.remove(person, Scope(row.scope), SuppressedFor(row.reason))
        async with self._database.transaction() as connection:
            cleared = numbers.update().where(numbers.c.person == person)
            await connection.execute(cleared.values(strikes=0, marketing_strikes=0, line=Line.UNDECIDED.value))
        return bool(found)
