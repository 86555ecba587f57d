"""Contacts and acts as they stand, and contacts replaced by newer ones: for many people in one statement."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.state.inserting import inserting
from worker.state.many import among
from worker.state.tables import consents, contacts

_PLACE = ("subject", "topic", "partition", "offset", "act", "purpose", "event_id", "at")
_NUMBERS = sa.select(contacts.c.subject, contacts.c.person).where(
    among(contacts.c.subject, "subjects"), contacts.c.person.is_not(None)
)
_BY_PLACE = sa.select(*(consents.c[name] for name in _PLACE)).where(
    among(consents.c.subject, "subjects"), consents.c.source.is_(None)
)


async def numbers_of(connection: AsyncConnection, subjects: Collection[str]) -> dict[str, str]:
    """Return the keyed hash of the number that each contact has, where it has one."""
    rows = await connection.execute(_NUMBERS, {"subjects": sorted(subjects)})
    return {row.subject: row.person for row in rows}


async def acts_by_place(connection: AsyncConnection, subjects: Collection[str]) -> set[tuple[Any, ...]]:
    """Return the acts of *subjects* that a version before 0015 wrote: they have no source, and are named by their place."""
    return {tuple(row) for row in await connection.execute(_BY_PLACE, {"subjects": sorted(subjects)})}


def place_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return by what an act of before would be known again."""
    return tuple(row[name] for name in _PLACE)


async def replace(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> set[str]:
    """
    Write contacts, each unless a newer one stands; return which were written.

    Args:
        connection: In a transaction that holds the locks.
        rows: Of different subjects; all contacts, or one that is forgotten.
    """
    insert = inserting(connection.dialect.name == "postgresql")
    statement = insert(contacts)
    newer = contacts.c.version < statement.excluded.version
    # An erasure wins a tie over a contact that is there; over itself it changes nothing.
    tie = sa.and_(
        statement.excluded.sealed.is_(None),
        contacts.c.version == statement.excluded.version,
        contacts.c.sealed.is_not(None),
    )
    names = ("person", "country", "version", "sealed")
    statement = statement.on_conflict_do_update(
        index_elements=["subject"], set_={name: statement.excluded[name] for name in names}, where=newer | tie
    )
    written = await connection.execute(statement.returning(contacts.c.subject), rows)
    return {row.subject for row in written}
