"""
What is kept for a term only: prospects who have not been heard of, and proofs about people who are forgotten.

Source of the terms: CNIL, référentiel gestion commerciale (prospects: three years from the last contact by the person);
Code civil, art. 2224 (five years, in which a claim can still be made, for the proofs).
"""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from worker.policy.rules import RetentionRules
from worker.state.database import Database
from worker.state.erasing import ERASURE, Erasure, erase
from worker.state.tables import consents, contacts, db_now, ledger, person_keys

PIECE = 500
_others = contacts.alias("others")
_ANSWERED = ("transactional:", "codes:")  # a text that answers something the person did


class Prospect(NamedTuple):
    """Somebody who has not been heard of, by keyed hash."""

    subject: str
    person: str | None


class Retention:
    """Finds what is over, and ends it. Every method may raise StateUnavailable."""

    def __init__(self, database: Database, rules: RetentionRules) -> None:
        self._database = database
        self._prospect_s = timedelta(days=rules.prospect_days).total_seconds()
        self._proof_s = timedelta(days=rules.proof_days).total_seconds()

    async def prospects(self) -> AsyncIterator[list[Prospect]]:
        """Yield people whose last act or event is older than the term, some hundred at a time."""
        last, since = "", db_now() - self._prospect_s
        theirs = sa.or_(consents.c.subject == person_keys.c.subject, consents.c.person == contacts.c.person)
        known = sa.select(person_keys.c.subject, sa.func.coalesce(contacts.c.person, _number_of_key()).label("person"))
        silent = (
            known.join_from(person_keys, contacts, contacts.c.subject == person_keys.c.subject, isouter=True)
            .where(
                sa.not_(person_keys.c.subject.startswith("day:")),
                ~sa.exists().where(_others.c.person == person_keys.c.subject),  # they go with their contact
                sa.func.coalesce(contacts.c.version, person_keys.c.created_at) < since,
                person_keys.c.created_at < since,
                ~sa.exists().where(theirs, consents.c.at >= since),
                ~sa.exists().where(ledger.c.person == contacts.c.person, ledger.c.claimed_at >= since, _answers()),
                ~sa.exists().where(ledger.c.person == person_keys.c.subject, ledger.c.claimed_at >= since, _answers()),
            )
            .order_by(person_keys.c.subject)
            .limit(PIECE)
        )
        while True:
            async with self._database.reading() as connection:
                rows = (await connection.execute(silent.where(person_keys.c.subject > last))).all()
            if not rows:
                return
            yield [Prospect(row.subject, row.person) for row in rows]
            last = rows[-1].subject

    async def forget(self, prospects: Sequence[Prospect], run: str) -> None:
        """Erase *prospects*; *run* names the job in the act that is kept."""
        named = {one.subject for one in prospects} | {one.person for one in prospects if one.person}
        async with self._database.transaction() as connection:
            await self._database.lock_persons(connection, named)
            now = await connection.scalar(sa.select(db_now())) or 0.0
            for one in prospects:
                emptied = contacts.update().where(contacts.c.subject == one.subject)
                await connection.execute(emptied.values(person=None, country=None, sealed=None, version=now))
                its = Erasure(now, f"retention:{run}", f"retention:{one.subject}", 0, int(now * 1000))
                await erase(connection, one.subject, {one.person} if one.person else set(), its)

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
    return sa.or_(*(ledger.c.scope.startswith(prefix) for prefix in _ANSWERED))


def _number_of_key() -> sa.ScalarSelect[str | None]:
    """Return the number of a subject that is one: somebody who was only ever named by their number."""
    its = consents.alias()
    return sa.select(sa.func.min(its.c.person)).where(its.c.subject == person_keys.c.subject).scalar_subquery()
