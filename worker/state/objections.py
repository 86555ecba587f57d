"""
A person's objections follow them to another number.

A yes is for a number, and a new number needs its own. A no is the person's: whoever withdrew, or said STOP, and then
changed their number, has not changed their mind.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.consent import ALL_PURPOSES, Act, SuppressedFor
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import consents, suppressions

CARRIED = "carried"  # the channel of such an act
OBJECTIONS = (Act.REVOKED.value, Act.BLOCKED.value)
_SAID = (SuppressedFor.STOP.value, SuppressedFor.COMPLAINT.value)


async def carry_objections(connection: AsyncConnection, subject: str, before: str, person: str) -> None:
    """Write the objections of a contact, and of the number it had, for its new number; the caller holds the locks."""
    objected = sa.and_(consents.c.subject == subject, consents.c.act.in_(OBJECTIONS), consents.c.person != person)
    acts = await connection.execute(sa.select(consents.c.act, consents.c.purpose, consents.c.at).where(objected))
    said = await connection.execute(
        sa.select(suppressions.c.at).where(suppressions.c.person == before, suppressions.c.reason.in_(_SAID))
    )
    rows = [(row.act, row.purpose, row.at) for row in acts]
    rows += [(Act.REVOKED.value, ALL_PURPOSES, row.at) for row in said]
    await _write(connection, subject, person, rows)


async def _write(
    connection: AsyncConnection, subject: str, person: str, rows: Sequence[tuple[str, str, float]]
) -> None:
    latest: dict[tuple[str, str], float] = {}
    for act, purpose, at in rows:
        latest[act, purpose] = max(at, latest.get((act, purpose), at))
    if not latest:
        return
    insert = inserting(connection.dialect.name == "postgresql")
    statement = insert(consents).values(
        subject=subject, person=person, channel=CARRIED, source=CARRIED, event_id=CARRIED,
        topic=f"{CARRIED}:{person}", partition=0, sealed=b"",
        recorded_at=db_now(),
    )  # fmt: skip
    for (act, purpose), at in sorted(latest.items()):
        moment = int(at * 1000)
        row = {"act": act, "purpose": purpose, "at": at, "offset": moment, "content": f"{person}:{moment}"}
        await connection.execute(statement.values(**row).on_conflict_do_nothing())
