"""Contacts and the keys of people: what is known of whom a message is for."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.people import Contact, Known
from worker.sealing import Erased, KeyRing
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.many import among
from worker.state.now import db_now
from worker.state.tables import contacts, person_keys

ItemT = TypeVar("ItemT")
MOST_AT_ONCE = 5_000  # PostgreSQL takes 32,767 parameters in a statement
_SELECT = (
    sa.select(person_keys, contacts.c.person, contacts.c.country, contacts.c.sealed)
    .join_from(person_keys, contacts, contacts.c.subject == person_keys.c.subject, isouter=True)
    .where(among(person_keys.c.subject, "subjects"))
)


def batched(subjects: list[ItemT], most: int) -> Iterator[list[ItemT]]:
    """Yield *subjects* in pieces of at most *most*."""
    return (subjects[start : start + most] for start in range(0, len(subjects), most))


class People:
    """
    Looks people up, many at a time.

    Attributes:
        ring: That wraps their data keys.
    """

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self.ring = ring

    async def load(self, subjects: Iterable[str], *, create_keys: bool = False) -> dict[str, Known]:
        """
        Return what is known under each of *subjects* (keyed hashes); make missing keys if asked to.

        Raises:
            StateUnavailable: The database does not answer.
        """
        wanted = set(subjects)
        if not wanted:
            return {}
        known: dict[str, Known] = {}
        async with self._database.reading() as connection:
            for chunk in batched(sorted(wanted), MOST_AT_ONCE):
                known |= await self.read(connection, chunk)
        if create_keys and (missing := wanted - known.keys()):
            async with self._database.transaction() as connection:
                await self.create_keys(connection, missing)
            known |= await self.load(missing)
        return known

    async def load_or_make_up(self, subjects: Iterable[str]) -> dict[str, Known]:
        """Return what is known; who has no key gets one that is written nowhere, for whoever only wants to know."""
        wanted = set(subjects)
        known = await self.load(wanted)
        return known | {subject: Known(self.ring.new_key(subject)[0]) for subject in wanted - known.keys()}

    async def read(self, connection: AsyncConnection, subjects: Iterable[str]) -> dict[str, Known]:
        """Return what is known under each of *subjects*."""
        rows = await connection.execute(_SELECT, {"subjects": list(subjects)})
        return {row.subject: self._known(row) for row in rows}

    async def create_keys(self, connection: AsyncConnection, subjects: Iterable[str]) -> None:
        """Make a key for each of *subjects* that has none; sorted, so that two batches never wait for each other."""
        insert = inserting(self._database.is_postgresql)
        statement = insert(person_keys).values(created_at=db_now()).on_conflict_do_nothing()
        rows = []
        for subject in sorted(subjects):
            key, ring_key, wrapped = self.ring.new_key(subject)
            rows.append({"subject": subject, "key_id": key.key_id, "ring_key": ring_key, "wrapped": wrapped})
        await connection.execute(statement, rows)

    def _known(self, row: Any) -> Known:
        key = self.ring.unwrap(row.subject, row.key_id, row.ring_key, row.wrapped)
        if row.sealed is None:
            return Known(key)
        try:
            return Known(key, Contact(person=row.person, country=row.country, **orjson.loads(key.open(row.sealed))))
        except Erased:
            return Known(key)
