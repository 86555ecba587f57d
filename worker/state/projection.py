"""
Contact and consent events become rows, by the time of the act and not of its arrival.

Every write takes the lock of the persons it concerns, the same that the fence takes, so that no text starts
after a withdrawal has been committed and the claim's start window is over.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.events import ControlData
from schemas.events.consent import ConsentGranted, ConsentRevoked
from schemas.events.contact import ContactErased, ContactUpdated
from worker.people import Change
from worker.policy.consent import ALL_PURPOSES, Act
from worker.policy.number import Number, parse_number
from worker.sealing import DataKey, Pepper
from worker.state.database import Database
from worker.state.erasing import Erasure, erase, number_of
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.objections import carry_objections
from worker.state.people import People
from worker.state.tables import consents, contacts, facts, projections

READ_ONCE = "contacts_read_once"


class Projector:
    """Writes control events, a batch a transaction."""

    def __init__(self, database: Database, people: People, pepper: Pepper) -> None:
        self._database = database
        self._people = people
        self._pepper = pepper

    async def project(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in their order; writing them again changes nothing.

        Raises:
            StateUnavailable: The database does not answer; nothing was written.
        """
        async with self._database.transaction() as connection:
            # Contacts first: a consent that names a contact must see the number that another process is writing.
            # Only contacts: numbers are locked next, in the one order that the fence keeps too.
            named = {self._subject(change.data) for change in changes if change.data.addressees()[0].contact_id}
            await self._database.lock_persons(connection, named)
            await self._database.lock_persons(connection, await self._persons(connection, changes))
            await self._people.create_keys(connection, {self._subject(change.data) for change in changes})
            for change in changes:
                match change.data:
                    case ContactUpdated():
                        await self._update(connection, change.data, change)
                    case ContactErased():
                        await self._erase(connection, change.data, change)
                    case ConsentGranted() | ConsentRevoked():
                        await self._consent(connection, change.data, change)

    async def caught_up(self, behind_s: Mapping[tuple[str, int], float]) -> None:
        """Write down up to when each partition of the control intake has been read: so many seconds ago."""
        insert = inserting(self._database.is_postgresql)
        statement = insert(projections).values(
            topic=sa.bindparam("topic"),
            partition=sa.bindparam("partition"),
            caught_up_at=db_now() - sa.bindparam("behind_s", type_=sa.Double),
        )
        statement = statement.on_conflict_do_update(
            index_elements=["topic", "partition"], set_={"caught_up_at": statement.excluded.caught_up_at}
        )
        rows = [{"topic": t, "partition": p, "behind_s": behind} for (t, p), behind in sorted(behind_s.items())]
        async with self._database.transaction() as connection:
            await connection.execute(statement, rows)

    async def begin(self, topics: Collection[str]) -> bool:
        """Forget partitions of topics that are read no more; return whether nobody has ever read all there was."""
        async with self._database.transaction() as connection:
            await connection.execute(projections.delete().where(projections.c.topic.not_in(topics)))
            return not await self._was_read_once(connection)

    @staticmethod
    async def _was_read_once(connection: AsyncConnection) -> bool:
        return bool(await connection.scalar(sa.select(facts.c.value).where(facts.c.name == READ_ONCE)))

    async def read_once(self, partitions: Collection[tuple[str, int]] | None, since: float) -> bool:
        """
        Return whether each of *partitions* has been read up to *since* or later, by whichever process; write that down.

        Args:
            partitions: Of the control intake's topics, all of them; None if this process does not read them, and only
                asks what others wrote down.
            since: Seconds since 1970, by the database's clock.
        """
        if partitions is None:
            async with self._database.reading() as connection:
                return await self._was_read_once(connection)
        async with self._database.transaction() as connection:
            rows = await connection.execute(sa.select(projections).where(projections.c.caught_up_at >= since))
            if not {(row.topic, row.partition) for row in rows} >= set(partitions):
                return False
            insert = inserting(self._database.is_postgresql)
            known = insert(facts).values(name=READ_ONCE, value="true").on_conflict_do_nothing()
            await connection.execute(known)
            return True

    def _subject(self, data: ControlData) -> str:
        who = data.addressees()[0]
        if who.contact_id is not None:
            return self._pepper.name("contact", who.contact_id)
        return self._person(who.phone or "")

    def _person(self, phone: str) -> str:
        number = parse_number(phone)
        return self._pepper.name("phone", number.e164 if isinstance(number, Number) else phone)

    async def _persons(self, connection: AsyncConnection, changes: Sequence[Change]) -> set[str]:
        """Return everybody whom *changes* concern, by the numbers named and the numbers on file."""
        rows = await connection.execute(
            sa.select(contacts.c.person).where(
                contacts.c.subject.in_({self._subject(change.data) for change in changes})
            )
        )
        named = {self._person(phone) for change in changes if (phone := _phone(change.data))}
        return named | {person for (person,) in rows if person}

    async def _update(self, connection: AsyncConnection, data: ContactUpdated, change: Change) -> None:
        subject, person = self._subject(data), self._person(data.phone)
        key = await self._key(connection, subject)
        number = parse_number(data.phone)
        card = data.model_dump(
            mode="json", include={"phone", "first_name", "last_name", "locale", "zone", "attributes"}
        )
        row = {
            "subject": subject,
            "person": person,
            "country": number.country if isinstance(number, Number) else None,
            "version": change.at,
            "sealed": key.seal(orjson.dumps(card)),
        }
        before = await number_of(connection, subject)
        if await self._replace(connection, row):
            if before is not None and before != person:
                await carry_objections(connection, subject, before, person)
            pending = consents.update().where(consents.c.subject == subject, consents.c.person.is_(None))
            await connection.execute(pending.values(person=person))

    async def _key(self, connection: AsyncConnection, subject: str) -> DataKey:
        """Return the subject's key; made again if an event of this very batch destroyed it."""
        known = await self._people.read(connection, {subject})
        if subject not in known:
            await self._people.create_keys(connection, {subject})
            known = await self._people.read(connection, {subject})
        key = known[subject].key
        if key is None:
            raise RuntimeError("a row of person_keys has a key")
        return key

    async def _erase(self, connection: AsyncConnection, data: ContactErased, change: Change) -> None:
        subject, record = self._subject(data), change.record
        persons = {self._person(data.phone)} if data.phone else set()
        persons |= {person} if (person := await number_of(connection, subject)) else set()
        row = {"subject": subject, "person": None, "country": None, "version": change.at, "sealed": None}
        if await self._replace(connection, row):
            its = Erasure(change.at, change.event_id, record.topic, record.partition, record.offset)
            await erase(connection, subject, persons, its)

    async def _replace(self, connection: AsyncConnection, row: dict[str, Any]) -> bool:
        """Write a contact unless a newer one stands; return whether it was written."""
        insert = inserting(self._database.is_postgresql)
        statement = insert(contacts).values(**row)
        # An erasure wins a tie over a contact that is there; over itself it changes nothing.
        tie = sa.and_(
            sa.literal(row["sealed"] is None),
            contacts.c.version == statement.excluded.version,
            contacts.c.sealed.is_not(None),
        )
        newer = statement.on_conflict_do_update(
            index_elements=["subject"],
            set_={name: statement.excluded[name] for name in row if name != "subject"},
            where=(contacts.c.version < statement.excluded.version) | tie,
        )
        return bool((await connection.execute(newer)).rowcount)

    async def _consent(
        self, connection: AsyncConnection, data: ConsentGranted | ConsentRevoked, change: Change
    ) -> None:
        subject = self._subject(data)
        key = await self._key(connection, subject)
        record = change.record
        row = {
            "subject": subject,
            "person": await self._person_of(connection, data, subject),
            "at": change.at,
            "channel": data.channel,
            "wording_version": data.wording_version if isinstance(data, ConsentGranted) else None,
            "event_id": change.event_id,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "sealed": key.seal(record.value or b""),
        }
        insert = inserting(self._database.is_postgresql)
        statement = insert(consents).values(recorded_at=db_now()).on_conflict_do_nothing()
        await connection.execute(
            statement, [{**row, "act": act.value, "purpose": purpose} for act, purpose in _acts(data)]
        )

    async def _person_of(
        self, connection: AsyncConnection, data: ConsentGranted | ConsentRevoked, subject: str
    ) -> str | None:
        if data.recipient.phone:
            return self._person(data.recipient.phone)
        return await number_of(connection, subject)


def _phone(data: ControlData) -> str | None:
    return data.recipient.phone if isinstance(data, ConsentGranted | ConsentRevoked) else data.phone


def _acts(data: ConsentGranted | ConsentRevoked) -> list[tuple[Act, str]]:
    if isinstance(data, ConsentGranted):
        return [(Act.GRANTED, purpose) for purpose in data.purposes]
    if data.block:
        return [(Act.BLOCKED, ALL_PURPOSES)]
    return [(Act.REVOKED, purpose) for purpose in data.purposes or (ALL_PURPOSES,)]
