"""
Contact and consent events become rows, by the time of the act and not of its arrival.

Every write takes the lock of the persons it concerns, the same that the fence takes, so that no text starts
after a withdrawal has been committed and the claim's start window is over.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.events import ControlData
from schemas.events.consent import ConsentGranted, ConsentRevoked
from schemas.events.contact import ContactErased, ContactUpdated
from worker.people import Change
from worker.policy.consent import ALL_PURPOSES, Act
from worker.policy.event_times import TimeDoubt
from worker.policy.number import Number, parse_number
from worker.sealing import DataKey, Pepper
from worker.state.database import Database
from worker.state.erasing import Erasure, erase, was_erased
from worker.state.inserting import inserting
from worker.state.many import among
from worker.state.now import db_now
from worker.state.objections import carry_objections
from worker.state.people import People, batched
from worker.state.proofs import proof_of
from worker.state.replacing import acts_by_place, numbers_of, place_of, replace
from worker.state.tables import consents, contacts, facts, projections
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
READ_ONCE = "contacts_read_once"
WAVES_AT_ONCE = 8  # of one transaction: whoever changes a hundred times in a batch costs several


@dataclass(frozen=True, slots=True)
class _Known:
    """
    What is known of everybody in a wave.

    Attributes:
        keys: By subject.
        numbers: The keyed hash of the number that each contact had before.
        now: By the database's clock, seconds since 1970.
    """

    keys: Mapping[str, DataKey]
    numbers: Mapping[str, str]
    now: float


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
            StateUnavailable: The database does not answer; what was written of them is written again.
        """
        for waves in batched(list(_waves(changes, self._subject)), WAVES_AT_ONCE):
            async with self._database.transaction() as connection:
                await self._lock(connection, [change for wave in waves for change in wave])
                for wave in waves:
                    await self._write(connection, wave)

    async def _lock(self, connection: AsyncConnection, changes: Sequence[Change]) -> None:
        """Keep everybody else away from whom *changes* concern, and make keys for who has none."""
        # Contacts first: a consent that names a contact must see the number that another process is writing.
        # Only contacts: numbers are locked next, in the one order that the fence keeps too.
        named = {self._subject(change) for change in changes if change.data.addressees()[0].contact_id}
        await self._database.lock_persons(connection, named)
        await self._database.lock_persons(connection, await self._persons(connection, changes))
        await self._people.create_keys(connection, {self._subject(change) for change in changes})

    async def caught_up(
        self, behind_s: Mapping[tuple[str, int], float], partitions: Collection[tuple[str, int]] = ()
    ) -> None:
        """
        Write down up to when each partition of the control intake has been read: so many seconds ago.

        Args:
            behind_s: By topic and partition.
            partitions: Which there are; what is known of others is of a topic that was made again with fewer, and is
                forgotten. Nothing is if none are given.
        """
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
        counts = Counter(topic for topic, _ in partitions)
        async with self._database.transaction() as connection:
            await connection.execute(statement, rows)
            for topic, count in sorted(counts.items()):
                gone = projections.delete().where(projections.c.topic == topic, projections.c.partition >= count)
                await connection.execute(gone)

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

    def _subject(self, change: Change) -> str:
        who = change.data.addressees()[0]
        if who.contact_id is not None:
            return self._pepper.name("contact", who.contact_id)
        return self._person(who.phone or "")

    def _person(self, phone: str) -> str:
        number = parse_number(phone)
        return self._pepper.name("phone", number.e164 if isinstance(number, Number) else phone)

    async def _persons(self, connection: AsyncConnection, changes: Sequence[Change]) -> set[str]:
        """Return everybody whom *changes* concern, by the numbers named and the numbers on file."""
        rows = await connection.execute(
            sa.select(contacts.c.person).where(contacts.c.subject.in_({self._subject(change) for change in changes}))
        )
        named = {self._person(phone) for change in changes if (phone := _phone(change.data))}
        return named | {person for (person,) in rows if person}

    async def _write(self, connection: AsyncConnection, wave: Sequence[Change]) -> None:
        """Write changes of different people, in some statements however many they are."""
        if isinstance(wave[0].data, ContactErased):
            await self._erase(connection, wave[0].data, wave[0])
            return
        subjects = {self._subject(change) for change in wave}
        known = _Known(
            await self._keys(connection, subjects),
            await numbers_of(connection, subjects),
            await connection.scalar(sa.select(db_now())) or 0.0,
        )
        await self._update(connection, [c for c in wave if isinstance(c.data, ContactUpdated)], known)
        await self._consent(connection, [c for c in wave if not isinstance(c.data, ContactUpdated)], known)

    async def _keys(self, connection: AsyncConnection, subjects: Collection[str]) -> dict[str, DataKey]:
        """Return the key of each subject; made again if an erasure of this very batch destroyed it."""
        known = await self._people.read(connection, subjects)
        if missing := set(subjects) - known.keys():
            await self._people.create_keys(connection, missing)
            known |= await self._people.read(connection, missing)
        return {subject: its.key for subject, its in known.items() if its.key is not None}

    async def _update(self, connection: AsyncConnection, changes: Sequence[Change], known: _Known) -> None:
        rows = {row["subject"]: row for row in (self._contact(change, known) for change in changes)}
        if not rows:
            return
        written = await replace(connection, list(rows.values()))
        for subject in sorted(written):
            before, person = known.numbers.get(subject), rows[subject]["person"]
            if before is not None and before != person:
                await carry_objections(connection, subject, before, person)
        theirs = sa.select(contacts.c.person).where(contacts.c.subject == consents.c.subject).scalar_subquery()
        pending = consents.update().where(consents.c.person.is_(None), among(consents.c.subject, "subjects"))
        await connection.execute(pending.values(person=theirs), {"subjects": sorted(written)})

    def _contact(self, change: Change, known: _Known) -> dict[str, Any]:
        data, subject = change.data, self._subject(change)
        if not isinstance(data, ContactUpdated):
            raise TypeError(type(data).__name__)
        number = parse_number(data.phone)
        card = data.model_dump(
            mode="json", include={"phone", "first_name", "last_name", "locale", "zone", "attributes"}
        )
        return {
            "subject": subject,
            "person": self._person(data.phone),
            "country": number.country if isinstance(number, Number) else None,
            "version": _not_ahead(change, known.now),
            "sealed": known.keys[subject].seal(orjson.dumps(card)),
        }

    async def _erase(self, connection: AsyncConnection, data: ContactErased, change: Change) -> None:
        subject, record = self._subject(change), change.record
        if await was_erased(connection, subject, change.source, change.event_id):
            return
        persons = {self._person(data.phone)} if data.phone else set()
        persons |= set((await numbers_of(connection, {subject})).values())
        row = {"subject": subject, "person": None, "country": None, "version": change.at, "sealed": None}
        if await replace(connection, [row]):
            its = Erasure(change.at, change.source, change.event_id, *record.place)
            await erase(connection, subject, persons, its)

    async def _consent(self, connection: AsyncConnection, changes: Sequence[Change], known: _Known) -> None:
        if not changes:
            return
        before = await acts_by_place(connection, {self._subject(change) for change in changes})
        rows = [row for change in changes for row in self._acts(change, known)]
        new = [row for row in rows if place_of(row) not in before]
        if new:
            insert = inserting(self._database.is_postgresql)
            await connection.execute(insert(consents).values(recorded_at=db_now()).on_conflict_do_nothing(), new)

    def _acts(self, change: Change, known: _Known) -> list[dict[str, Any]]:
        data, subject, record, at = change.data, self._subject(change), change.record, change.at
        if not isinstance(data, ConsentGranted | ConsentRevoked):
            raise TypeError(type(data).__name__)
        if isinstance(data, ConsentGranted):
            at = _not_ahead(change, known.now)
        row = {
            "subject": subject,
            "person": self._person(data.recipient.phone) if data.recipient.phone else known.numbers.get(subject),
            "at": at,
            "channel": data.channel,
            "wording_version": data.wording_version if isinstance(data, ConsentGranted) else None,
            "source": change.source,
            "event_id": change.event_id,
            "content": self._pepper.name("act", change.content),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "sealed": known.keys[subject].seal(proof_of(record)),
        }
        return [{**row, "act": act.value, "purpose": purpose} for act, purpose in _kinds(data)]


def _waves(changes: Sequence[Change], subject_of: Callable[[Change], str]) -> Iterator[list[Change]]:
    """Yield *changes* in order, nobody twice in one wave; who is forgotten is a wave alone, as others' keys may end."""
    wave, subjects = list[Change](), set[str]()
    for change in changes:
        alone = isinstance(change.data, ContactErased)
        if wave and (alone or subject_of(change) in subjects):
            yield wave
            wave, subjects = [], set()
        wave.append(change)
        subjects.add(subject_of(change))
        if alone:
            yield wave
            wave, subjects = [], set()
    if wave:
        yield wave


def _not_ahead(change: Change, now: float) -> float:
    """Return when somebody said yes, or who they are, *now* at the latest: later, it would overrule a no to come."""
    if change.at > now:
        metrics.child(metrics.EVENT_TIMES, TimeDoubt.PROJECTED_AHEAD).inc()
        log.warning("projection.time_ahead", ahead_s=round(change.at - now, 1), **change.record.place._asdict())
    return min(change.at, now)


def _phone(data: ControlData) -> str | None:
    return data.recipient.phone if isinstance(data, ConsentGranted | ConsentRevoked) else data.phone


def _kinds(data: ConsentGranted | ConsentRevoked) -> list[tuple[Act, str]]:
    if isinstance(data, ConsentGranted):
        return [(Act.GRANTED, purpose) for purpose in data.purposes]
    if data.block:
        return [(Act.BLOCKED, ALL_PURPOSES)]
    return [(Act.REVOKED, purpose) for purpose in data.purposes or (ALL_PURPOSES,)]
