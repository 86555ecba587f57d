"""
Forgetting a person: their data key is destroyed, so that whatever it sealed, wherever it is, reads no more.

What is kept is kept by the number's keyed hash alone: suppressions for ever, acts and what was sent for the term of proof.
The erasure is an act itself, and withdraws every consent that the number had.
"""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.consent import ALL_PURPOSES, Act
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import consents, contacts, numbers, person_keys, signs

ERASURE = "erasure"  # the channel of such an act


@dataclass(frozen=True, slots=True)
class Erasure:
    """
    Why and when somebody is forgotten.

    Attributes:
        at: Seconds since 1970, by the event's own time.
        topic: Of the record that asked for it, or what else did.
    """

    at: float
    event_id: str
    topic: str
    partition: int
    offset: int


async def erase(connection: AsyncConnection, subject: str, persons: Collection[str], erasure: Erasure) -> None:
    """Forget *subject*, and the numbers *persons* that are theirs; the caller holds their locks."""
    insert = inserting(connection.dialect.name == "postgresql")
    await connection.execute(person_keys.delete().where(person_keys.c.subject.in_({subject, *persons})))
    for table in (numbers, signs):
        await connection.execute(table.delete().where(table.c.person.in_(sorted(persons))))
    withdrawn = insert(consents).values(
        subject=subject, channel=ERASURE, purpose=ALL_PURPOSES, at=erasure.at, event_id=erasure.event_id,
        topic=erasure.topic, partition=erasure.partition, offset=erasure.offset, sealed=b"", recorded_at=db_now(),
    )  # fmt: skip
    # One record gives one act of a kind; a second number that the event names is withdrawn by the other.
    for person, act in zip(sorted(persons), (Act.ERASED, Act.REVOKED), strict=False):
        await connection.execute(withdrawn.values(person=person, act=act.value).on_conflict_do_nothing())


async def number_of(connection: AsyncConnection, subject: str) -> str | None:
    """Return the keyed hash of the number that a contact has."""
    person: str | None = await connection.scalar(sa.select(contacts.c.person).where(contacts.c.subject == subject))
    return person
