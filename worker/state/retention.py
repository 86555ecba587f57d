"""
What is kept for a term only: prospects who have not been heard of, and proofs about people who are forgotten.

Source of the terms: CNIL, référentiel gestion commerciale (prospects: three years from the last contact by the person);
Code civil, art. 2224 (five years, in which a claim can still be made, for the proofs).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.rules import RetentionRules
from worker.state.database import Database
from worker.state.erasing import ERASURE, Erasure, erase
from worker.state.now import db_now
from worker.state.tables import consents, contacts, deferred, ledger, person_keys, signs

PIECE = 500
_others = contacts.alias("others")
ANSWERED = ("transactional:", "codes:")  # a text that answers something the person did


class Prospect(NamedTuple):
    """Somebody who has not been heard of, by keyed hash; the number only if nobody else has it."""

    subject: str
    person: str | None


class Retention:
    """Finds what is over, and ends it. Every method may raise StateUnavailable."""

    def __init__(self, database: Database, rules: RetentionRules) -> None:
        self._database = database
        self._prospect_s = timedelta(days=rules.prospect_days).total_seconds()
        self._proof_s = timedelta(days=rules.proof_days).total_seconds()

    async def prospects(self, look: Callable[[int], object] = lambda _: None) -> AsyncIterator[list[Prospect]]:
        """Yield people whose last act or event is older than the term; *look* hears how many more were looked at."""
        last = ""
        page = sa.select(person_keys.c.subject).order_by(person_keys.c.subject).limit(PIECE)
        while True:
            async with self._database.reading() as connection:
                subjects = (await connection.scalars(page.where(person_keys.c.subject > last))).all()
                if not subjects:
                    return
                found = await self._silent(connection, subjects)
            look(len(subjects))
            if found:
                yield found
            last = subjects[-1]

    async def _silent(self, connection: AsyncConnection, subjects: Sequence[str]) -> list[Prospect]:
        """Return those of *subjects* who have not been heard of."""
        since = db_now() - self._prospect_s
        number = sa.func.coalesce(contacts.c.person, _number_of_key())
        texted = ledger.c.person.in_([contacts.c.person, person_keys.c.subject])
        silent = (
            sa.select(person_keys.c.subject, number.label("person"), _shared().label("shared"))
            .join_from(person_keys, contacts, contacts.c.subject == person_keys.c.subject, isouter=True)
            .where(
                person_keys.c.subject.in_(subjects),
                sa.not_(person_keys.c.subject.startswith("day:")),
                ~sa.exists().where(_others.c.person == person_keys.c.subject),  # they go with their contact
                sa.func.coalesce(contacts.c.version, person_keys.c.created_at) < since,
                person_keys.c.created_at < since,
                ~sa.exists().where(consents.c.subject == person_keys.c.subject, consents.c.at >= since),
                ~sa.exists().where(consents.c.person == contacts.c.person, consents.c.at >= since),
                ~sa.exists().where(texted, ledger.c.claimed_at >= since, _answers()),
                ~sa.exists().where(signs.c.person.in_([contacts.c.person, person_keys.c.subject]), signs.c.at >= since),
                ~sa.exists().where(deferred.c.recipient == person_keys.c.subject),  # somebody waits for it
            )
        )
        rows = await connection.execute(silent.order_by(person_keys.c.subject))
        return [Prospect(row.subject, None if row.shared else row.person) for row in rows]

    async def forget(self, prospect: Prospect, run: str) -> bool:
        """Erase a prospect, unless they were heard of meanwhile; *run* names the job in the act that is kept."""
        contact = {prospect.subject} if prospect.subject != prospect.person else set[str]()
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, contact)  # a contact first, then its number: as is projected
            await self._database.lock_persons(connection, {prospect.person} if prospect.person else set())
            still = await self._silent(connection, [prospect.subject])
            if still != [prospect]:
                return False
            now = await connection.scalar(sa.select(db_now())) or 0.0
            emptied = contacts.update().where(contacts.c.subject == prospect.subject)
            await connection.execute(emptied.values(person=None, country=None, sealed=None, version=now))
            its = Erasure(now, "retention", f"retention:{run}", f"retention:{prospect.subject}", 0, int(now * 1000))
            await erase(connection, prospect.subject, {prospect.person} if prospect.person else set(), its)
        return True

    async def proofs(self) -> list[tuple[str, float]]:
        """Return keyed hashes of numbers whose owner was forgotten longer ago than the term, and when; some hundred."""
        forgotten = sa.select(consents.c.person, sa.func.max(consents.c.at).label("at")).where(
            consents.c.channel == ERASURE,
            consents.c.person.is_not(None),
            consents.c.recorded_at < db_now() - self._proof_s,
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(forgotten.group_by(consents.c.person).limit(PIECE))
            return [(row.person, row.at) for row in rows]

    async def end(self, proofs: Sequence[tuple[str, float]]) -> None:
        """Delete the acts that are over, and take the numbers' hashes out of what was sent."""
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, {person for person, _ in proofs})
            for person, at in proofs:
                await connection.execute(consents.delete().where(consents.c.person == person, consents.c.at <= at))
                over = ledger.update().where(ledger.c.person == person, ledger.c.claimed_at <= at)
                await connection.execute(over.values(person=None, scope=None))


def _answers() -> sa.ColumnElement[bool]:
    return sa.or_(*(ledger.c.scope.startswith(prefix) for prefix in ANSWERED))


def _shared() -> sa.ColumnElement[bool]:
    """Return whether another contact has the same number: then it is not forgotten, nor its consents withdrawn."""
    its = contacts.alias()
    return sa.exists().where(its.c.person == contacts.c.person, its.c.subject != contacts.c.subject)


def _number_of_key() -> sa.ScalarSelect[str | None]:
    """Return the number of a subject that is one: somebody who was only ever named by their number."""
    its = consents.alias()
    return sa.select(sa.func.min(its.c.person)).where(its.c.subject == person_keys.c.subject).scalar_subquery()
