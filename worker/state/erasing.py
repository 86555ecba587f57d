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
from worker.state.tables import consents, numbers, person_keys, signs

ERASURE = "erasure"  # the channel of such an act


@dataclass(frozen=True, slots=True)
class Erasure:
    """
    Why and when somebody is forgotten.

    Attributes:
        at: Seconds since 1970, by the event's own time.
        source: Of the event that asked for it.
        topic: Of the record that asked for it, or what else did.
    """

    at: float
    source: str
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
        subject=subject, channel=ERASURE, act=Act.ERASED.value, purpose=ALL_PURPOSES, at=erasure.at,
        source=erasure.source, event_id=erasure.event_id, topic=erasure.topic, partition=erasure.partition,
        offset=erasure.offset, sealed=b"", recorded_at=db_now(),
    )  # fmt: skip
    # Each number's withdrawal is an act; of whoever had none, only that they were erased.
    rows: list[dict[str, str | None]] = [{"person": person, "content": person} for person in sorted(persons)]
    rows = rows or [{"person": None, "content": ""}]
    await connection.execute(withdrawn.on_conflict_do_nothing(), rows)


async def was_erased(connection: AsyncConnection, subject: str, source: str, event_id: str) -> bool:
    """Return whether an event's erasure was done: read again, it must not forget who has come back since."""
    done = sa.select(consents.c.id).where(
        consents.c.subject == subject, consents.c.source == source, consents.c.event_id == event_id
    )
    return await connection.scalar(done.limit(1)) is not None
