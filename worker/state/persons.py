"""All that is kept of one person: for support, for the right of access, for proof of consent."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from worker.people import Contact, Known
from worker.sealing import Erased
from worker.state.database import Database
from worker.state.people import People
from worker.state.proofs import read_proof
from worker.state.tables import consents, contacts, deferred, ledger, past_suppressions, suppressions

PIECE = 5_000


@dataclass(frozen=True, slots=True)
class ConsentAct:
    """
    What a person did, and its proof.

    Attributes:
        at: Seconds since 1970, by the event's own time.
        recorded_at: By the database's clock.
        record: The event's data as it was published; None once the person's key is destroyed.
        headers: Of its record; none are kept of acts from before 0015.
    """

    act: str
    purpose: str
    at: float
    channel: str | None
    wording_version: str | None
    event_id: str
    topic: str
    partition: int
    offset: int
    recorded_at: float
    record: dict[str, Any] | None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """
    Everything under one number.

    Attributes:
        person: Keyed hash of the number.
        subjects: Every reference that leads to it: the number's, and contacts'.
        past_suppressions: Those that were lifted, or said again later: from `at` until `until`.
        messages: Outcomes of what was sent to it, or may have been, with the time of the claim.
        waiting: Lane, reason and due time of what waits.
    """

    person: str
    subjects: Sequence[str]
    contacts: Sequence[Contact]
    acts: Sequence[ConsentAct]
    suppressions: Sequence[dict[str, Any]]
    past_suppressions: Sequence[dict[str, Any]]
    messages: Sequence[dict[str, Any]]
    waiting: Sequence[dict[str, Any]]


class Persons:
    """Reads; changes nothing."""

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people

    async def subjects(self, person: str) -> list[str]:
        """Return every reference that leads to a number: its own hash, and those of contacts that have it."""
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(contacts.c.subject).where(contacts.c.person == person))
            return [person, *(row.subject for row in found)]

    async def read(self, person: str) -> Person:
        """
        Return all that is kept of the number with the keyed hash *person*.

        Raises:
            StateUnavailable: The database does not answer.
        """
        subjects = await self.subjects(person)
        known = await self._people.load(subjects)
        return Person(
            person,
            subjects,
            [its.contact for its in known.values() if its.contact is not None],
            await self._acts(person, subjects, known),
            await self._rows(sa.select(suppressions).where(suppressions.c.person == person)),
            await self._rows(sa.select(past_suppressions).where(past_suppressions.c.person == person)),
            await self._messages(person),
            await self._waiting(subjects),
        )

    async def all_acts(self) -> AsyncIterator[tuple[Any, ...]]:
        """Yield every act of everybody, by keyed hash, without its record."""
        c = consents.c
        columns = (c.person, c.act, c.purpose, c.at, c.channel, c.wording_version, c.topic, c.partition, c.offset)
        last = 0
        while True:
            piece = sa.select(c.id, *columns).where(c.id > last).order_by(c.id).limit(PIECE)
            async with self._database.reading() as connection:
                rows = (await connection.execute(piece)).all()
            for row in rows:
                yield tuple(row)[1:]
            if len(rows) < PIECE:
                return
            last = rows[-1].id

    async def _acts(self, person: str, subjects: Collection[str], known: dict[str, Known]) -> list[ConsentAct]:
        pending = sa.and_(consents.c.person.is_(None), consents.c.subject.in_(subjects))
        theirs = sa.or_(consents.c.person == person, pending)
        async with self._database.reading() as connection:
            asked = sa.select(consents).where(theirs).order_by(consents.c.at, consents.c.id)
            rows = (await connection.execute(asked)).all()
        known = known | await self._people.load({row.subject for row in rows} - known.keys())
        return [_act(row, known.get(row.subject)) for row in rows]

    async def _messages(self, person: str) -> list[dict[str, Any]]:
        sent = sa.select(ledger.c.outcome, ledger.c.scope, ledger.c.state, ledger.c.claimed_at).where(
            ledger.c.person == person
        )
        rows = await self._rows(sent.order_by(ledger.c.claimed_at))
        return [
            {"state": row["state"], "counts_as": row["scope"], "claimed_at": row["claimed_at"], **_told(row["outcome"])}
            for row in rows
        ]

    async def _waiting(self, subjects: Collection[str]) -> list[dict[str, Any]]:
        columns = (deferred.c.message_id, deferred.c.lane, deferred.c.reason, deferred.c.template, deferred.c.due)
        return await self._rows(sa.select(*columns).where(deferred.c.recipient.in_(subjects)).order_by(deferred.c.due))

    async def _rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self._database.reading() as connection:
            # A column's name is a subclass of str, which JSON encoders refuse as a key.
            return [
                {str(name): value for name, value in row._mapping.items()}  # noqa: SLF001  its public name
                for row in await connection.execute(statement)
            ]


def _told(outcome: bytes | None) -> dict[str, Any]:
    return orjson.loads(outcome)["data"] if outcome else {}


def _act(row: Any, known: Known | None) -> ConsentAct:
    proof = None
    if known is not None and known.key is not None:
        with suppress(Erased):
            proof = read_proof(known.key.open(row.sealed))
    return ConsentAct(
        row.act, row.purpose, row.at, row.channel, row.wording_version, row.event_id, row.topic, row.partition,
        row.offset, row.recorded_at, proof.data if proof else None, proof.headers if proof else {},
    )  # fmt: skip
