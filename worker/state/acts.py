"""What persons did and what was decided about them, as the consent rules read it."""

from collections import defaultdict
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.consent import Act, DatedAct, Suppression
from worker.state.many import among
from worker.state.tables import consents, suppressions

_ACTS = (
    sa.select(
        consents.c.person,
        consents.c.act,
        consents.c.purpose,
        sa.func.max(consents.c.at).label("at"),
        sa.literal("", sa.String).label("reason"),
    )
    .where(among(consents.c.person, "persons"))
    .group_by(consents.c.person, consents.c.act, consents.c.purpose)
    .union_all(
        sa.select(
            suppressions.c.person,
            sa.literal("suppressed"),
            suppressions.c.scope,
            suppressions.c.at,
            suppressions.c.reason,
        ).where(among(suppressions.c.person, "persons"))
    )
)


async def read_acts(
    connection: AsyncConnection, persons: Collection[str]
) -> tuple[dict[str, list[DatedAct]], dict[str, list[Suppression]]]:
    """Return the latest acts of each kind, and the suppressions, of *persons*."""
    acts: dict[str, list[DatedAct]] = defaultdict(list)
    suppressed: dict[str, list[Suppression]] = defaultdict(list)
    if not persons:
        return acts, suppressed
    for person, act, purpose, at, reason in await connection.execute(_ACTS, {"persons": sorted(persons)}):
        if act == "suppressed":
            suppressed[person].append(Suppression(purpose, reason, at))
        else:
            acts[person].append(DatedAct(Act(act), purpose, at))
    return acts, suppressed
